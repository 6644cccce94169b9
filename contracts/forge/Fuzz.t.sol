// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Accounts} from "../src/Accounts.sol";
import {Quorum} from "../src/Quorum.sol";
import {Rfc9162} from "../src/Rfc9162.sol";
import {MintTermsV1, Payee} from "../src/Terms.sol";
import {MerkleLog} from "./MerkleLog.sol";
import {Testing} from "./Vm.sol";

contract Splitter is Accounts {
    function split(MintTermsV1 calldata terms, uint256 amount, address collector) external {
        _split(1, terms, address(0), amount, collector);
    }
}

contract Verifier {
    function inclusion(bytes32 entry, uint64 index, uint64 size, bytes32 root, bytes32[] calldata path) external view {
        Rfc9162.checkInclusion(Rfc9162.leafHash(entry), index, size, root, path);
    }

    function consistency(uint64 size1, bytes32 root1, uint64 size2, bytes32 root2, bytes32[] calldata path)
        external
        view
    {
        Rfc9162.checkConsistency(size1, root1, size2, root2, path);
    }

    function leaf(bytes32 entry) external view returns (bytes32) {
        return Rfc9162.leafHash(entry);
    }

    function node(bytes32 left, bytes32 right) external view returns (bytes32) {
        return Rfc9162.nodeHash(left, right);
    }
}

/// @notice Single functions on values that forge draws.
contract FuzzTest is Testing {
    Splitter private _splitter = new Splitter();
    Verifier private _verifier = new Verifier();

    function testFuzz_split_credits_every_unit(
        uint128 amount,
        uint16[3] calldata cuts,
        uint16[8] calldata parts,
        uint8 count,
        bool sold,
        bool curated
    ) external {
        MintTermsV1 memory terms;
        terms.curatorShare = uint16(bound(cuts[0], 0, 4_000));
        terms.collectorShare = uint16(bound(cuts[1], 0, 3_000));
        terms.platformShare = uint16(bound(cuts[2], 0, 3_000));
        terms.creatorShare = 10_000 - terms.curatorShare - terms.collectorShare - terms.platformShare;
        terms.curator = curated ? address(0x11) : address(0);
        terms.platform = address(0x12);
        terms.payees = new Payee[](bound(count, 1, 8));
        uint16 left = 10_000;
        for (uint160 i = 0; i < terms.payees.length; ++i) {
            uint16 part = i + 1 == terms.payees.length ? left : uint16(bound(parts[i], 0, left));
            terms.payees[i] = Payee(address(0x20 + i), part);
            left -= part;
        }
        _splitter.split(terms, amount, sold ? address(0x13) : address(0));
        uint256 sum = 0;
        for (uint160 i = 0; i < 0x40; ++i) sum += _splitter.owed(address(0), address(i));
        expect(sum == amount, "units were lost or made");
        uint256 curator = curated ? uint256(amount) * terms.curatorShare / 10_000 : 0;
        expect(_splitter.owed(address(0), address(0x11)) == curator, "the curator has another share");
        uint256 collector = sold ? uint256(amount) * terms.collectorShare / 10_000 : 0;
        expect(_splitter.owed(address(0), address(0x13)) == collector, "the collector has another share");
        expect(_splitter.owed(address(0), address(0)) == 0, "nobody was credited");
    }

    function testFuzz_inclusion_is_accepted_where_the_entry_is(uint8 size, uint8 index, uint256 seed, uint8 other)
        external
        view
    {
        bytes32[] memory entries = _entries(bound(size, 1, 40), seed);
        uint64 count = uint64(entries.length);
        uint64 place = uint64(index % count);
        bytes32[] memory path = MerkleLog.inclusion(entries, place, count);
        bytes32 root = MerkleLog.root(entries, count);
        _verifier.inclusion(entries[place], place, count, root, path);
        uint64 elsewhere = uint64(other % count);
        if (elsewhere == place) return;
        try _verifier.inclusion(entries[place], elsewhere, count, root, path) {
            revert Failed("accepted at another index");
        } catch {}
    }

    function testFuzz_consistency_is_accepted_between_prefixes(uint8 a, uint8 b, uint256 seed, uint8 changed) external view {
        uint64 size2 = uint64(bound(b, 2, 40));
        uint64 size1 = uint64(bound(a, 1, size2 - 1));
        bytes32[] memory entries = _entries(size2, seed);
        bytes32 root1 = MerkleLog.root(entries, size1);
        bytes32[] memory path = MerkleLog.consistency(entries, size1, size2);
        _verifier.consistency(size1, root1, size2, MerkleLog.root(entries, size2), path);
        entries[changed % size1] = keccak256("changed");
        path = MerkleLog.consistency(entries, size1, size2);
        try _verifier.consistency(size1, root1, size2, MerkleLog.root(entries, size2), path) {
            revert Failed("accepted a changed past");
        } catch {}
    }

    function testFuzz_hashes_are_sha256(bytes32 left, bytes32 right) external view {
        expect(_verifier.leaf(left) == sha256(abi.encodePacked(bytes1(0x00), left)), "leaf");
        expect(_verifier.node(left, right) == sha256(abi.encodePacked(bytes1(0x01), left, right)), "node");
    }

    function testFuzz_two_quorums_share_more_than_the_faulty(uint8 n) external pure {
        uint256 count = bound(n, 4, 64);
        expect(2 * Quorum.sizeFor(count) > count + (count - 1) / 3, "two quorums may meet in faulty ones only");
    }

    /// @dev A chain without the precompile answers with success and no bytes.
    function test_chain_without_sha256_proves_nothing() external {
        vm.mockCall(address(2), "", "");
        try _verifier.leaf(bytes32(0)) {
            revert Failed("a leaf was hashed");
        } catch (bytes memory said) {
            expect(bytes4(said) == Rfc9162.Sha256Unavailable.selector, "another error");
        }
        try _verifier.node(bytes32(0), bytes32(0)) {
            revert Failed("a node was hashed");
        } catch (bytes memory said) {
            expect(bytes4(said) == Rfc9162.Sha256Unavailable.selector, "another error");
        }
    }

    function _entries(uint256 count, uint256 seed) private pure returns (bytes32[] memory entries) {
        entries = new bytes32[](count);
        for (uint256 i = 0; i < count; ++i) entries[i] = keccak256(abi.encode(seed, i));
    }
}
