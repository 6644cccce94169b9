// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Rfc9162} from "../src/Rfc9162.sol";

struct InclusionCase {
    bytes32 entry;
    uint64 index;
    uint64 size;
    bytes32 root;
    bytes32[] path;
}

struct ConsistencyCase {
    uint64 size1;
    bytes32 root1;
    uint64 size2;
    bytes32 root2;
    bytes32[] path;
}

/// @notice The library's functions, to be called with any values; many at once, as calls cost the tests most.
contract ProofHarness {
    function checkInclusion(InclusionCase calldata each) external view {
        Rfc9162.checkInclusion(Rfc9162.leafHash(each.entry), each.index, each.size, each.root, each.path);
    }

    function checkConsistency(ConsistencyCase calldata each) external view {
        Rfc9162.checkConsistency(each.size1, each.root1, each.size2, each.root2, each.path);
    }

    /// @return accepted By case.
    function inclusions(InclusionCase[] calldata cases) external view returns (bool[] memory accepted) {
        accepted = new bool[](cases.length);
        for (uint256 i = 0; i < cases.length; ++i) {
            try this.checkInclusion(cases[i]) {
                accepted[i] = true;
            } catch {}
        }
    }

    function consistencies(ConsistencyCase[] calldata cases) external view returns (bool[] memory accepted) {
        accepted = new bool[](cases.length);
        for (uint256 i = 0; i < cases.length; ++i) {
            try this.checkConsistency(cases[i]) {
                accepted[i] = true;
            } catch {}
        }
    }
}
