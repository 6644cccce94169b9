// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @notice RFC 6962, section 2.1, as it is written there: by recursion over the entries. A second opinion on the verifier.
library MerkleLog {
    function root(bytes32[] memory entries, uint256 size) internal pure returns (bytes32) {
        return _root(entries, 0, size);
    }

    /// @dev PATH(m, D[n]), section 2.1.1.
    function inclusion(bytes32[] memory entries, uint256 index, uint256 size) internal pure returns (bytes32[] memory) {
        bytes32[] memory path = new bytes32[](64);
        uint256 length = _path(entries, index, 0, size, path, 0);
        return _cut(path, length);
    }

    /// @dev PROOF(m, D[n]), section 2.1.2.
    function consistency(bytes32[] memory entries, uint256 size1, uint256 size2)
        internal
        pure
        returns (bytes32[] memory)
    {
        bytes32[] memory path = new bytes32[](128);
        uint256 length = _subproof(entries, size1, 0, size2, true, path, 0);
        return _cut(path, length);
    }

    function _root(bytes32[] memory entries, uint256 start, uint256 count) private pure returns (bytes32) {
        if (count == 1) return sha256(abi.encodePacked(bytes1(0x00), entries[start]));
        uint256 k = _split(count);
        return sha256(
            abi.encodePacked(bytes1(0x01), _root(entries, start, k), _root(entries, start + k, count - k))
        );
    }

    function _path(
        bytes32[] memory entries,
        uint256 m,
        uint256 start,
        uint256 count,
        bytes32[] memory path,
        uint256 length
    ) private pure returns (uint256) {
        if (count == 1) return length;
        uint256 k = _split(count);
        if (m < k) {
            length = _path(entries, m, start, k, path, length);
            path[length] = _root(entries, start + k, count - k);
        } else {
            length = _path(entries, m - k, start + k, count - k, path, length);
            path[length] = _root(entries, start, k);
        }
        return length + 1;
    }

    function _subproof(
        bytes32[] memory entries,
        uint256 m,
        uint256 start,
        uint256 count,
        bool whole,
        bytes32[] memory path,
        uint256 length
    ) private pure returns (uint256) {
        if (m == count) {
            if (whole) return length;
            path[length] = _root(entries, start, count);
            return length + 1;
        }
        uint256 k = _split(count);
        if (m <= k) {
            length = _subproof(entries, m, start, k, whole, path, length);
            path[length] = _root(entries, start + k, count - k);
        } else {
            length = _subproof(entries, m - k, start + k, count - k, false, path, length);
            path[length] = _root(entries, start, k);
        }
        return length + 1;
    }

    function _split(uint256 count) private pure returns (uint256 k) {
        k = 1;
        while (k << 1 < count) k <<= 1;
    }

    function _cut(bytes32[] memory path, uint256 length) private pure returns (bytes32[] memory cut) {
        cut = new bytes32[](length);
        for (uint256 i = 0; i < length; ++i) cut[i] = path[i];
    }
}
