"""Small valid DDEX messages, written by hand after release-notification.xsd of ERN 4.2, 4.3 and 4.3.2."""

from __future__ import annotations

PARTIES = """
  <PartyList>
    <Party>
      <PartyReference>PAna</PartyReference>
      <PartyName><FullName>Ana Sol</FullName></PartyName>
      <PartyName LanguageAndScriptCode="ja-Jpan"><FullName>アナ</FullName></PartyName>
      <PartyId><ISNI>0000000121032683</ISNI></PartyId>
    </Party>
    <Party>
      <PartyReference>PJane</PartyReference>
      <PartyName><FullName>Jane Doe</FullName></PartyName>
      <PartyId><IpiNameNumber>00014107338</IpiNameNumber></PartyId>
    </Party>
    <Party>
      <PartyReference>PAurora</PartyReference>
      <PartyName><FullName>Aurora Records</FullName></PartyName>
    </Party>
  </PartyList>"""

RELEASES = """
  <ReleaseList>
    <Release>
      <ReleaseReference>R0</ReleaseReference>
      <ReleaseType>Album</ReleaseType>
      <ReleaseId><GRid>A12425GABC1234002M</GRid><ICPN>00036000291452</ICPN></ReleaseId>
      <DisplayTitleText>Weather</DisplayTitleText>
      <ReleaseLabelReference ApplicableTerritoryCode="Worldwide">PAurora</ReleaseLabelReference>
      <Duration>PT3M25S</Duration>
      <OriginalReleaseDate>2026-09-01</OriginalReleaseDate>
      <ResourceGroup>
        <ResourceGroup>
          <SequenceNumber>1</SequenceNumber>
          <ResourceGroupContentItem>
            <SequenceNumber>1</SequenceNumber>
            <ReleaseResourceReference>A1</ReleaseResourceReference>
          </ResourceGroupContentItem>
        </ResourceGroup>
      </ResourceGroup>
    </Release>
    <TrackRelease>
      <ReleaseReference>R1</ReleaseReference>
      <ReleaseId><GRid>A10302B0003989564F</GRid></ReleaseId>
      <ReleaseResourceReference>A1</ReleaseResourceReference>
      <ReleaseLabelReference ApplicableTerritoryCode="Worldwide">PAurora</ReleaseLabelReference>
    </TrackRelease>
  </ReleaseList>
  <DealList>
    <ReleaseDeal>
      <DealReleaseReference>R0</DealReleaseReference>
      <Deal><DealTerms><TerritoryCode>Worldwide</TerritoryCode></DealTerms></Deal>
    </ReleaseDeal>
  </DealList>"""

WORDS = """
      <DisplayTitleText>Rain (Radio Edit)</DisplayTitleText>
      <DisplayTitle LanguageAndScriptCode="ja-Jpan" ApplicableTerritoryCode="Worldwide">
        <TitleText>雨</TitleText>
      </DisplayTitle>
      <DisplayTitle LanguageAndScriptCode="en" ApplicableTerritoryCode="Worldwide" IsDefault="true">
        <TitleText>Rain</TitleText><SubTitle>Radio Edit</SubTitle>
      </DisplayTitle>
      <DisplayArtistName ApplicableTerritoryCode="Worldwide" IsDefault="true">Ana Sol</DisplayArtistName>
      <DisplayArtist SequenceNumber="1">
        <ArtistPartyReference>PAna</ArtistPartyReference>
        <DisplayArtistRole>MainArtist</DisplayArtistRole>
      </DisplayArtist>"""

PEOPLE = """
      <Contributor SequenceNumber="2">
        <ContributorPartyReference>PJane</ContributorPartyReference>
        <Role>Composer</Role>
        <Role>Mixer</Role>
      </Contributor>
      <Contributor SequenceNumber="1">
        <ContributorPartyReference>PAna</ContributorPartyReference>
        <Role>Artist</Role>
        <Role>CateringManager</Role>
      </Contributor>
      <ResourceRightsController>
        <RightsControllerPartyReference>PAurora</RightsControllerPartyReference>
        <RightsControlType>OriginalOwner</RightsControlType>
        <RightSharePercentage>62.5</RightSharePercentage>
        <DelegatedUsageRights>
          <UseType>OnDemandStream</UseType>
          <TerritoryOfRightsDelegation>US</TerritoryOfRightsDelegation>
          <TerritoryOfRightsDelegation>GB</TerritoryOfRightsDelegation>
        </DelegatedUsageRights>
      </ResourceRightsController>"""

P_LINE = "<PLine><Year>2026</Year><PLineText>(P) 2026 Aurora Records</PLineText></PLine>"
LENGTH = "<Duration>PT3M25S</Duration><CreationDate>2026-03-01</CreationDate>"
TECHNICAL_42 = """
      <TechnicalDetails>
        <TechnicalResourceDetailsReference>T1</TechnicalResourceDetailsReference>
        <IsPreview>false</IsPreview>
        <File>
          <URI>resources/01 Rain.flac</URI>
          <HashSum><Algorithm>MD5</Algorithm><HashSumValue>db7dd2f3bb9b322646e3f4d7b65b47ab</HashSumValue></HashSum>
        </File>
      </TechnicalDetails>
      <TechnicalDetails>
        <TechnicalResourceDetailsReference>T2</TechnicalResourceDetailsReference>
        <IsPreview>true</IsPreview>
        <File><URI>resources/preview.mp3</URI></File>
      </TechnicalDetails>"""


def _message(namespace: str, recording: str, attributes: str = "") -> bytes:
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<ern:NewReleaseMessage xmlns:ern="http://ddex.net/xml/ern/{namespace}" LanguageAndScriptCode="en" {attributes}>
  <MessageHeader>
    <MessageId>1</MessageId>
    <MessageSender><PartyId>PADPIDA2026010101U</PartyId></MessageSender>
  </MessageHeader>{PARTIES}
  <ResourceList>
    <SoundRecording>
      <ResourceReference>A1</ResourceReference>
      <Type>MusicalWorkSoundRecording</Type>{recording}
    </SoundRecording>
    <Image>
      <ResourceReference>A2</ResourceReference>
      <Type>FrontCoverImage</Type>
    </Image>
  </ResourceList>{RELEASES}
</ern:NewReleaseMessage>
""".encode()


def ern_42() -> bytes:
    recording = f"""
      <ResourceId><ISRC>USSKG1912345</ISRC></ResourceId>
      <WorkId><ISWC>T0345246801</ISWC></WorkId>{WORDS}{PEOPLE}
      {P_LINE}{LENGTH}{TECHNICAL_42}"""
    return _message("42", recording, 'ReleaseProfileVersionId="Audio"')


def _edition(*, digest: str) -> str:
    hashed = f"<HashSum><Algorithm>SHA-256</Algorithm><HashSumValue>{digest}</HashSumValue></HashSum>" if digest else ""
    return f"""
      <SoundRecordingEdition>
        <ResourceId>
          <ISRC>USSKG1912345</ISRC>
          <ProprietaryId Namespace="PADPIDA2026010101U">AUR-1</ProprietaryId>
        </ResourceId>
        {P_LINE}
        <TechnicalDetails>
          <TechnicalResourceDetailsReference>T1</TechnicalResourceDetailsReference>
          <DeliveryFile>
            <Type>AudioFile</Type>
            <File><URI>resources/01 Rain.flac</URI>{hashed}</File>
          </DeliveryFile>
        </TechnicalDetails>
      </SoundRecordingEdition>
      <WorkId><ISWC>T0345246801</ISWC></WorkId>"""


def ern_43(*, digest: str = "") -> bytes:
    return _message("43", f"{_edition(digest=digest)}{WORDS}{PEOPLE}{LENGTH}", 'AvsVersionId="3"')


def ern_432(contains: str, contributors: str) -> bytes:
    """With AI: contributors as XML."""
    said = f"<ContainsAI>{contains}</ContainsAI>" if contains else ""
    return _message("432", f"{_edition(digest='')}{WORDS}{contributors}{LENGTH}{said}", 'AvsVersionId="9"')


def contributor_432(role: str, *, ai: str = "", special: bool = False) -> str:
    who = (
        "<SpecialContributor>GenerativeAI</SpecialContributor>"
        if special
        else "<ContributorPartyReference>PJane</ContributorPartyReference>"
    )
    said = f"<AiContribution>{ai}</AiContribution>" if ai else ""
    return f"<Contributor>{who}<Role><Value>{role}</Value></Role>{said}</Contributor>"
