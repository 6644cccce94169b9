"""What a spreadsheet, a DDEX message or tags declare about each track: read, checked, and matched with the audio."""
