// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title Merkle proofs of the log: RFC 9162 with SHA-256, as ledger/merkle.py verifies them.
/// @notice A tree is named by its size (leaves) and root. Indices are 0-based.
library Rfc9162 {
    /// @notice Leaves; ledger/merkle.py and C2SP's readers hold sizes in a signed 64-bit integer.
    uint64 internal constant SIZE_MAX = type(uint64).max >> 1;

    error IndexOutOfTree(uint64 index, uint64 size);
    error ProofTooShort();
    error ProofTooLong();
    /// @notice The proof is one of another tree.
    error WrongRoot(bytes32 computed, bytes32 expected);
    error Sha256Unavailable();

    /// @notice RFC 6962, section 2.1: SHA-256(0x00 || entry).
    function leafHash(bytes32 entry) internal view returns (bytes32 hash) {
        bool done;
        assembly ("memory-safe") {
            let input := mload(0x40) // beyond the free pointer: used and forgotten
            mstore8(input, 0x00)
            mstore(add(input, 1), entry)
            // A chain without the precompile answers success and no bytes: old scratch must not pass for a hash then.
            // Arguments are evaluated from the right, so the size is that of this call.
            done := and(eq(returndatasize(), 32), staticcall(gas(), 2, input, 33, 0x00, 32))
            hash := mload(0x00)
        }
        if (!done) revert Sha256Unavailable();
    }

    /// @notice RFC 6962, section 2.1: SHA-256(0x01 || left || right).
    function nodeHash(bytes32 left, bytes32 right) internal view returns (bytes32 hash) {
        bool done;
        assembly ("memory-safe") {
            let input := mload(0x40)
            mstore8(input, 0x01)
            mstore(add(input, 1), left)
            mstore(add(input, 33), right)
            done := and(eq(returndatasize(), 32), staticcall(gas(), 2, input, 65, 0x00, 32))
            hash := mload(0x00)
        }
        if (!done) revert Sha256Unavailable();
    }

    /// @notice Reverts unless the tree of `size` leaves with `root` has `leaf`, a leaf hash, at `index`.
    /// @dev RFC 9162, section 2.1.3.2.
    function checkInclusion(bytes32 leaf, uint64 index, uint64 size, bytes32 root, bytes32[] calldata path)
        internal
        view
    {
        if (index >= size) revert IndexOutOfTree(index, size);
        uint256 position = index;
        uint256 last = size - 1;
        bytes32 current = leaf;
        for (uint256 i = 0; i < path.length; ++i) {
            if (last == 0) revert ProofTooLong();
            if (position & 1 == 1 || position == last) {
                current = nodeHash(path[i], current);
                while (position & 1 == 0 && position != 0) {
                    position >>= 1;
                    last >>= 1;
                }
            } else {
                current = nodeHash(current, path[i]);
            }
            position >>= 1;
            last >>= 1;
        }
        if (last != 0) revert ProofTooShort();
        if (current != root) revert WrongRoot(current, root);
    }

    /// @notice Reverts unless the tree (size1, root1) is a prefix of the tree (size2, root2), 0 < size1 < size2.
    /// @dev RFC 9162, section 2.1.4.2.
    function checkConsistency(uint64 size1, bytes32 root1, uint64 size2, bytes32 root2, bytes32[] calldata path)
        internal
        view
    {
        uint256 position = size1 - 1;
        uint256 last = size2 - 1;
        while (position & 1 == 1) {
            position >>= 1;
            last >>= 1;
        }
        // "If first is an exact power of 2, then prepend first_hash to the consistency_path array."
        uint256 next = 0;
        bytes32 first = root1;
        if (size1 & (size1 - 1) != 0) {
            if (path.length == 0) revert ProofTooShort();
            first = path[0];
            next = 1;
        }
        bytes32 older = first;
        bytes32 newer = first;
        for (; next < path.length; ++next) {
            if (last == 0) revert ProofTooLong();
            if (position & 1 == 1 || position == last) {
                older = nodeHash(path[next], older);
                newer = nodeHash(path[next], newer);
                while (position & 1 == 0 && position != 0) {
                    position >>= 1;
                    last >>= 1;
                }
            } else {
                newer = nodeHash(newer, path[next]);
            }
            position >>= 1;
            last >>= 1;
        }
        if (last != 0) revert ProofTooShort();
        if (older != root1) revert WrongRoot(older, root1);
        if (newer != root2) revert WrongRoot(newer, root2);
    }
}
