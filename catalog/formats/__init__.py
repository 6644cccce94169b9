"""One module a container format: is this a whole, sound file of it, how long does it play, what is its audio's digest?

Each checks what its format offers against truncation and damage: lengths in headers (wav, aiff), the decoded audio
against its checksum (flac), page checksums and end marks (ogg), frame by frame (mp3), boxes and sample tables (m4a).
"""
