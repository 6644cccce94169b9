"""The words of a claim. Value sets are DDEX's (allowed-value-sets.xsd, ERN 4.3.2 and MWDR) wherever DDEX has one.

Sets are closed and belong to the consensus rules: a new word is a new version of the rules, not a surprise in a record.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Subject(StrEnum):
    """What a claim is about."""

    RECORDING = "Recording"
    WORK = "Work"
    RELEASE = "Release"
    LINK = "Link"
    """That a recording performs a work."""


class PartyRole(StrEnum):
    """DDEX DisplayArtistRole, ResourceContributorRole and MusicalWorkContributorRole, those that concern music."""

    # Display artists
    ARTIST = "Artist"
    MAIN_ARTIST = "MainArtist"
    FEATURED_ARTIST = "FeaturedArtist"
    # Authors and publishers
    ADAPTER = "Adapter"
    ARRANGER = "Arranger"
    AUTHOR = "Author"
    COMPOSER = "Composer"
    COMPOSER_LYRICIST = "ComposerLyricist"
    LIBRETTIST = "Librettist"
    LYRICIST = "Lyricist"
    NON_LYRIC_AUTHOR = "NonLyricAuthor"
    SUB_ARRANGER = "SubArranger"
    SUB_LYRICIST = "SubLyricist"
    TRANSLATOR = "Translator"
    COPYRIGHT_CLAIMANT = "CopyrightClaimant"
    COPYRIGHT_HOLDER = "CopyrightHolder"
    MUSIC_PUBLISHER = "MusicPublisher"
    ORIGINAL_PUBLISHER = "OriginalPublisher"
    SUB_PUBLISHER = "SubPublisher"
    SUBSTITUTED_PUBLISHER = "SubstitutedPublisher"
    # Performers
    ACCOMPANYIST = "Accompanyist"
    ADDITIONAL_PERFORMER = "AdditionalPerformer"
    ASSOCIATED_PERFORMER = "AssociatedPerformer"
    BACKGROUND_VOCALIST = "BackgroundVocalist"
    BAND_LEADER = "BandLeader"
    CHOIR = "Choir"
    CHOIR_MEMBER = "ChoirMember"
    CHORUS_MASTER = "ChorusMaster"
    CONCERT_MASTER = "ConcertMaster"
    CONDUCTOR = "Conductor"
    DJ = "DJ"
    ENSEMBLE = "Ensemble"
    GROUP_MEMBER = "GroupMember"
    LEAD_PERFORMER = "LeadPerformer"
    LEAD_VOCALIST = "LeadVocalist"
    MUSIC_DIRECTOR = "MusicDirector"
    MUSIC_GROUP = "MusicGroup"
    MUSICIAN = "Musician"
    NARRATOR = "Narrator"
    ORCHESTRA = "Orchestra"
    ORCHESTRA_MEMBER = "OrchestraMember"
    ORIGINAL_ARTIST = "OriginalArtist"
    PERFORMER = "Performer"
    PRIMARY_MUSICIAN = "PrimaryMusician"
    SOLOIST = "Soloist"
    STUDIO_MUSICIAN = "StudioMusician"
    VOCALIST = "Vocalist"
    # Studio
    ASSISTANT_ENGINEER = "AssistantEngineer"
    CO_PRODUCER = "CoProducer"
    ENGINEER = "Engineer"
    EXECUTIVE_PRODUCER = "ExecutiveProducer"
    INITIAL_PRODUCER = "InitialProducer"
    MASTERING_ENGINEER = "MasteringEngineer"
    MIXER = "Mixer"
    MIXING_ENGINEER = "MixingEngineer"
    MUSIC_ARRANGER = "MusicArranger"
    PRODUCTION_COMPANY = "ProductionCompany"
    PROGRAMMER = "Programmer"
    RECORDING_ENGINEER = "RecordingEngineer"
    REMIXER = "Remixer"
    REMIXING_ENGINEER = "RemixingEngineer"
    SOUND_DESIGNER = "SoundDesigner"
    STUDIO_PERSONNEL = "StudioPersonnel"
    STUDIO_PRODUCER = "StudioProducer"
    VOCAL_ARRANGER = "VocalArranger"
    VOCAL_PRODUCER = "VocalProducer"


class Right(StrEnum):
    """DDEX RightsCoverage (ERN and MWDR): the right a share is a share of."""

    ALL = "All"
    """Counts toward every right."""
    INFORMATION_NETWORK_DISSEMINATION = "InformationNetworkDisseminationRight"
    """信息网络传播权, Copyright Law of the People's Republic of China, article 10 (12)."""
    LYRICS = "LyricsRight"
    MAKE_AVAILABLE = "MakeAvailableRight"
    MECHANICAL = "MechanicalRight"
    PERFORMING = "PerformingRight"
    PRINT = "PrintRight"
    RENTAL = "RentalRight"
    REPRODUCTION = "ReproductionRight"
    SYNCHRONIZATION = "SynchronizationRight"


class ShareType(StrEnum):
    """DDEX RightShareType. Types are different sums: manuscript shares and collection shares are never added up."""

    COLLECTION = "MusicalWorkCollectionShare"
    MANUSCRIPT = "MusicalWorkManuscriptShare"
    ORIGINAL_PUBLISHER = "OriginalPublisherShare"
    COPYRIGHT_CONTROL = "CopyrightControlShare"
    LICENSING = "LicensingShare"


class RightsControl(StrEnum):
    """DDEX RightsControlType: by what title a party holds its share."""

    EXCLUSIVE_LICENSEE = "ExclusiveLicensee"
    LOCAL_PAYEE = "LocalPayee"
    ORIGINAL_OWNER = "OriginalOwner"
    RIGHTS_ADMINISTRATOR = "RightsAdministrator"
    SUCCESSOR_IN_TITLE = "SuccessorInTitle"


class ContainsAI(StrEnum):
    """DDEX ContainsAI, and the fourth state DDEX expresses by silence."""

    ALL = "All"
    PARTLY = "Partly"
    NONE = "None"
    UNDECLARED = "Undeclared"
    """Nobody said. Never the same as None, and never written in a record: it is the absence of a disclosure."""


class AiRole(StrEnum):
    """What generative AI contributed to: the five roles in which platforms disclose it."""

    VOCALS = "Vocals"
    INSTRUMENTATION = "Instrumentation"
    COMPOSITION = "Composition"
    LYRICS = "Lyrics"
    POST_PRODUCTION = "PostProduction"


class TrainingUse(StrEnum):
    """Whether use for training generative AI is reserved (DDEX UseForTrainingGenerativeAI; EU 2019/790, art. 4 (3))."""

    ALLOWED = "Allowed"
    RESERVED = "Reserved"
    UNSTATED = "Unstated"
    """Written by leaving it out."""


class SampleFormat(StrEnum):
    """How the samples of a PCM digest are written. The words are ffmpeg's names of these raw formats, not DDEX's."""

    S8 = "s8"
    S16LE = "s16le"
    S24LE = "s24le"
    S32LE = "s32le"
    F32LE = "f32le"
    F64LE = "f64le"


class Relation(StrEnum):
    """How the subject relates to something else (DDEX ResourceRelationshipType and WorkRelationshipType)."""

    ARRANGEMENT_OF = "ArrangementOf"
    CONTAINS_SAMPLES_FROM = "ContainsSamplesFrom"
    HAS_CONTENT_FROM = "HasContentFrom"
    IS_COVER_OF = "IsCoverOf"
    IS_DIFFERENT_ENCODING = "IsDifferentEncoding"
    IS_EDITED_VERSION_OF = "IsEditedVersionOf"
    IS_PART_OF = "IsPartOf"
    MELODY_BORROWED_FROM = "MelodyBorrowedFrom"
    PRIOR_REGISTRATION = "PriorRegistration"
    """Not DDEX's: the same subject on record elsewhere, at an office, another registry or another chain."""


class ExhibitKind(StrEnum):
    """What a document or file that supports a claim is."""

    AGREEMENT = "Agreement"
    CAPTURE = "Capture"
    OTHER = "Other"
    REGISTRATION = "Registration"
    SESSION_FILES = "SessionFiles"
    TESTIMONY = "Testimony"


WORLDWIDE: Final = "Worldwide"
"""DDEX's name of the world."""

COUNTRIES: Final = frozenset(
    (  # noqa: SIM905
        "AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW "
        "BY BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI "
        "FJ FK FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN "
        "IO IQ IR IS IT JE JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME "
        "MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF "
        "PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV "
        "SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS XK "
        "YE YT ZA ZM ZW "
    ).split()
)
"""ISO 3166-1 alpha-2, 249 codes, and DDEX's XK: the atoms of a territory."""
