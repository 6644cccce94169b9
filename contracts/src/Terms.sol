// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @notice One of those who share the creator's part.
struct Payee {
    address account;
    /// @notice Of the creator's part, in basis points; those of all payees add up to 10,000.
    uint16 share;
}

/// @notice What a claim's issuer has signed of one token. Fixed for good: other terms are another version, another leaf.
/// @dev Shares are basis points, addresses are EVM addresses of the chain `chainId`.
struct MintTermsV1 {
    uint256 chainId;
    /// @notice The MusicNFT contract.
    address nft;
    /// @notice Who mints, and is the first owner.
    address minter;
    /// @notice SHA-256 of the statement with the claim.
    bytes32 claim;
    /// @notice Of the claim in its catalogue; 0 for a claim of its own statement.
    uint32 position;
    /// @notice This token's number among `editions`, from 1.
    uint32 edition;
    uint32 editions;
    /// @notice 1 to 128 bytes of UTF-8.
    string title;
    /// @notice 1 to 32; the first also gets what division leaves over.
    Payee[] payees;
    /// @notice Zero: nobody, and the share is the creator's. So for the platform.
    address curator;
    address platform;
    /// @notice Of primary income; the four add up to 10,000.
    uint16 creatorShare;
    uint16 curatorShare;
    uint16 collectorShare;
    uint16 platformShare;
    /// @notice What the first sale is paid in: an ERC-20 contract, or zero for the chain's own coin.
    address saleAsset;
    /// @notice Smallest price of the first sale, in the asset's smallest unit.
    uint256 saleFloor;
    /// @notice ERC-2981: who gets royalties on resale, and which part of the price (1,500 to 2,500).
    address royaltyTo;
    uint16 royalty;
    /// @notice The curator's part of a resale, of what `resaleBasis` says.
    uint16 resaleShare;
    /// @notice 0: of the gain; 1: of the gross price.
    uint8 resaleBasis;
    /// @notice What holders share of works made together with them.
    uint16 coCreationShare;
}

/// @notice A transition of a claim's status, as the log records it.
struct StatusV1 {
    /// @notice The entry of the mint leaf, which is also the token's id.
    bytes32 mint;
    /// @notice From 1, higher with every transition.
    uint64 seq;
    /// @notice 0 active, 1 disputed, 2 revoked.
    uint8 state;
    /// @notice SHA-256 of the statement that caused it.
    bytes32 cause;
}

/// @title The entries of derived leaves, and which terms make sense.
library Terms {
    uint8 internal constant ACTIVE = 0;
    uint8 internal constant DISPUTED = 1;
    uint8 internal constant REVOKED = 2;
    uint8 internal constant BASIS_GROSS = 1;
    uint256 internal constant WHOLE = 10_000;
    uint256 internal constant PAYEES_MAX = 32;
    uint256 internal constant TITLE_BYTES_MAX = 128;
    uint256 internal constant ROYALTY_MIN = 1_500;
    uint256 internal constant ROYALTY_MAX = 2_500;

    /// @dev ASCII, filled up with zeros. A statement begins with 0xd2 (CBOR tag 18): its hash is never a derived entry.
    bytes32 private constant MINT_KIND = "stretto/mint/v1";
    bytes32 private constant STATUS_KIND = "stretto/status/v1";

    error BadTitle(uint256 length);
    error BadEdition(uint32 edition, uint32 editions);
    error BadPayeeCount(uint256 count);
    error ZeroPayee(uint256 index);
    error PayeesNotWhole(uint256 sum);
    error SharesNotWhole(uint256 sum);
    error BadRoyalty(uint16 royalty);
    error ZeroRoyaltyReceiver();
    error BadResaleBasis(uint8 basis);
    error ResaleOverWhole(uint256 sum);
    error BadState(uint8 state);

    /// @notice The log entry of a MINT leaf: SHA-256(kind || abi.encode(genesis, terms)).
    function mintEntry(bytes32 genesis, MintTermsV1 calldata terms) internal pure returns (bytes32) {
        return sha256(bytes.concat(MINT_KIND, abi.encode(genesis, terms)));
    }

    /// @notice The log entry of a STATUS leaf: SHA-256(kind || abi.encode(genesis, status)).
    function statusEntry(bytes32 genesis, StatusV1 calldata status) internal pure returns (bytes32) {
        return sha256(bytes.concat(STATUS_KIND, abi.encode(genesis, status)));
    }

    /// @notice Reverts unless the terms, apart from chain, contract and minter, can be carried out.
    function check(MintTermsV1 calldata terms) internal pure {
        uint256 length = bytes(terms.title).length;
        if (length == 0 || length > TITLE_BYTES_MAX) revert BadTitle(length);
        if (terms.edition == 0 || terms.edition > terms.editions) revert BadEdition(terms.edition, terms.editions);
        uint256 count = terms.payees.length;
        if (count == 0 || count > PAYEES_MAX) revert BadPayeeCount(count);
        uint256 sum = 0;
        for (uint256 i = 0; i < count; ++i) {
            if (terms.payees[i].account == address(0)) revert ZeroPayee(i);
            sum += terms.payees[i].share;
        }
        if (sum != WHOLE) revert PayeesNotWhole(sum);
        sum = uint256(terms.creatorShare) + terms.curatorShare + terms.collectorShare + terms.platformShare;
        if (sum != WHOLE) revert SharesNotWhole(sum);
        if (terms.royalty < ROYALTY_MIN || terms.royalty > ROYALTY_MAX) revert BadRoyalty(terms.royalty);
        if (terms.royaltyTo == address(0)) revert ZeroRoyaltyReceiver();
        if (terms.resaleBasis > BASIS_GROSS) revert BadResaleBasis(terms.resaleBasis);
        sum = uint256(terms.royalty) + terms.resaleShare + terms.coCreationShare;
        if (sum > WHOLE) revert ResaleOverWhole(sum);
    }

    function checkState(uint8 state) internal pure {
        if (state > REVOKED) revert BadState(state);
    }
}
