// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @notice secp256k1 signature in EIP-2098's compact form: vs holds s, and the recovery bit on top.
struct Signature {
    bytes32 r;
    bytes32 vs;
}

/// @title Sets of signers committed by hash, and quorums of their signatures.
/// @notice With n signers of which f = floor((n - 1) / 3) may be faulty, a quorum is n - f: two of them share an honest one.
library Quorum {
    uint256 internal constant SIGNERS_MIN = 4;
    uint256 internal constant SIGNERS_MAX = 64;
    /// @dev floor(N / 2) of secp256k1 (EIP-2): of s and N - s only the lower is a signature here.
    uint256 private constant S_MAX = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0;

    error SetSize(uint256 count);
    /// @notice Addresses of a set are strictly ascending; the zero address is none.
    error SetNotAscending(address before, address next);
    error SharedSigner(address signer);
    error TooFewSignatures(uint256 count, uint256 quorum);
    error HighS(uint256 index);
    error InvalidSignature(uint256 index);
    error DuplicateSigner(address signer);
    error SignersNotAscending(address before, address next);
    error ForeignSigner(address signer);

    /// @notice What names the set of an epoch: keccak256(abi.encode(epoch, signers)).
    function hashOf(uint64 epoch, address[] memory signers) internal pure returns (bytes32) {
        return keccak256(abi.encode(epoch, signers));
    }

    function sizeFor(uint256 count) internal pure returns (uint256) {
        return count - (count - 1) / 3;
    }

    /// @notice Reverts unless `signers` can be a set: 4 to 64 addresses, strictly ascending.
    function checkSet(address[] memory signers) internal pure {
        if (signers.length < SIGNERS_MIN || signers.length > SIGNERS_MAX) revert SetSize(signers.length);
        address before = address(0);
        for (uint256 i = 0; i < signers.length; ++i) {
            if (signers[i] <= before) revert SetNotAscending(before, signers[i]);
            before = signers[i];
        }
    }

    /// @notice Reverts if one address is in both sets, which are ascending.
    function checkDisjoint(address[] memory a, address[] memory b) internal pure {
        uint256 i = 0;
        uint256 j = 0;
        while (i < a.length && j < b.length) {
            if (a[i] == b[j]) revert SharedSigner(a[i]);
            if (a[i] < b[j]) ++i;
            else ++j;
        }
    }

    /// @notice Reverts unless a quorum of `signers`, a set, signed `digest`, in the order of their addresses.
    function check(bytes32 digest, address[] calldata signers, Signature[] calldata signatures) internal pure {
        if (signatures.length < sizeFor(signers.length)) revert TooFewSignatures(signatures.length, sizeFor(signers.length));
        address before = address(0);
        uint256 position = 0;
        for (uint256 i = 0; i < signatures.length; ++i) {
            address signer = _recover(digest, signatures[i], i);
            if (signer == before) revert DuplicateSigner(signer);
            if (signer < before) revert SignersNotAscending(before, signer);
            while (position < signers.length && signers[position] < signer) ++position;
            if (position == signers.length || signers[position] != signer) revert ForeignSigner(signer);
            before = signer;
        }
    }

    function _recover(bytes32 digest, Signature calldata signature, uint256 index) private pure returns (address) {
        uint256 s = uint256(signature.vs) & (type(uint256).max >> 1);
        if (s > S_MAX) revert HighS(index);
        address signer = ecrecover(digest, uint8(uint256(signature.vs) >> 255) + 27, signature.r, bytes32(s));
        if (signer == address(0)) revert InvalidSignature(index);
        return signer;
    }
}
