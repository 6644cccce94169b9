// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {Checkpoint, CheckpointBridge, SignedCheckpoint} from "../src/CheckpointBridge.sol";
import {MusicNFT, Place} from "../src/MusicNFT.sol";
import {Signature} from "../src/Quorum.sol";
import {MintTermsV1, Payee, StatusV1} from "../src/Terms.sol";
import {MerkleLog} from "./MerkleLog.sol";
import {Testing} from "./Vm.sol";

contract Coin is ERC20("Coin", "COIN") {
    function make(address to, uint256 amount) external {
        _mint(to, amount);
    }
}

/// @notice A consortium of four with its keys, its log, a bridge, tokens and those who are paid by them.
/// @dev Each public function is one thing that anybody, or a dishonest quorum, may try; forge calls them in any order. What
/// must never succeed is counted in `broken`.
contract World is Testing {
    bytes32 public constant GENESIS = keccak256("genesis");
    uint256 public constant SONGS = 3;
    uint256 private constant LOG_MAX = 48;

    CheckpointBridge public bridge;
    MusicNFT public nft;
    Coin public coin;
    uint256[] private _keys;
    address[] private _validators;
    bytes32[] private _log;
    address[] public actors;
    uint64[] public sizes;
    uint64 private _epoch = 1;
    uint64 private _seq;
    mapping(uint256 song => uint256 index) private _leaf;
    mapping(uint256 song => bool minted) public minted;
    uint256 public mints;
    /// @notice How often something happened that must not.
    uint256 public broken;
    /// @notice How often a submission, a mint, a payment and a refusal came about, so that the test is seen to do things.
    mapping(string what => uint256 count) public happened;

    constructor() {
        vm.chainId(32769);
        for (uint256 i = 0; i < 4; ++i) _insert(uint256(keccak256(abi.encode("validator", i))));
        address[] memory recovery = new address[](4);
        for (uint160 i = 0; i < 4; ++i) recovery[i] = address(0x1000 + i);
        for (uint160 i = 0; i < 6; ++i) actors.push(address(0x2000 + i));
        _log.push(keccak256("entry 0"));
        bridge = new CheckpointBridge(GENESIS, _log[0], 1, _validators, recovery);
        nft = new MusicNFT(bridge);
        coin = new Coin();
        sizes.push(1);
    }

    function actorCount() external view returns (uint256) {
        return actors.length;
    }

    function sizeCount() external view returns (uint256) {
        return sizes.length;
    }

    function prefixRoot(uint64 size) external view returns (bytes32) {
        return MerkleLog.root(_log, size);
    }

    function terms(uint256 song) public view returns (MintTermsV1 memory made) {
        made.chainId = 32769;
        made.nft = address(nft);
        made.minter = actors[0];
        made.edition = uint32(song + 1);
        made.editions = uint32(SONGS);
        made.title = "Song";
        made.payees = new Payee[](2);
        made.payees[0] = Payee(actors[1], 3_333);
        made.payees[1] = Payee(actors[2], 6_667);
        made.curator = song == 0 ? address(0) : actors[3];
        made.platform = actors[4];
        made.creatorShare = 7_000;
        made.curatorShare = 1_500;
        made.collectorShare = 1_000;
        made.platformShare = 500;
        made.saleFloor = 10;
        made.royaltyTo = actors[1];
        made.royalty = 2_000;
    }

    function idOf(uint256 song) public view returns (uint256) {
        return nft.idOf(terms(song));
    }

    function appendAnything(uint256 seed) external {
        if (_log.length < LOG_MAX) _log.push(keccak256(abi.encode("entry", seed, _log.length)));
    }

    function appendTerms(uint256 song) external {
        song %= SONGS;
        if (_log.length >= LOG_MAX || _leaf[song] != 0) return;
        _leaf[song] = _log.length;
        _log.push(bytes32(idOf(song)));
    }

    function submit(uint256 which) external {
        uint64 size = uint64(bound(which, 1, _log.length));
        uint64 last = bridge.size();
        if (size <= last) return;
        bool recorded = bridge.submit(
            _sign(Checkpoint(_epoch, size, MerkleLog.root(_log, size), 0), 3), MerkleLog.consistency(_log, last, size)
        );
        expect(recorded, "an honest checkpoint was not recorded");
        sizes.push(size);
        happened["submitted"]++;
    }

    /// @notice A whole dishonest set, with the best proof it can make of a history that it has changed.
    function rewrite(uint256 index, uint256 more, bytes32 other) external {
        uint64 last = bridge.size();
        bytes32[] memory forged = _copy(last + 1 + more % 8);
        forged[index % last] = keccak256(abi.encode(other, "forged"));
        uint64 size = uint64(forged.length);
        SignedCheckpoint memory signed = _sign(Checkpoint(_epoch, size, MerkleLog.root(forged, size), 0), 4);
        try bridge.submit(signed, MerkleLog.consistency(forged, last, size)) {
            broken++;
        } catch {
            happened["refused"]++;
        }
    }

    function submitWithoutQuorum(uint256 signers) external {
        uint64 size = uint64(_log.length);
        uint64 last = bridge.size();
        if (size <= last) return;
        SignedCheckpoint memory signed =
            _sign(Checkpoint(_epoch, size, MerkleLog.root(_log, size), 0), bound(signers, 0, 2));
        try bridge.submit(signed, MerkleLog.consistency(_log, last, size)) {
            broken++;
        } catch {
            happened["refused"]++;
        }
    }

    function mint(uint256 song) external {
        song %= SONGS;
        uint64 size = bridge.size();
        uint256 index = _leaf[song];
        bool there = index != 0 && index < size;
        (, uint8 state,,,) = nft.statusOf(idOf(song));
        bytes32[] memory path = MerkleLog.inclusion(_log, there ? index : 0, there ? size : uint64(_log.length));
        MintTermsV1 memory made = terms(song);
        vm.prank(actors[0]);
        try nft.mint(made, Place(there ? size : uint64(_log.length), uint64(index), path)) {
            if (!there || minted[song] || state != 0) broken++;
            minted[song] = true;
            mints++;
            happened["minted"]++;
        } catch {
            if (there && !minted[song] && state == 0) broken++; // honest ones are not refused
        }
    }

    function showStatus(uint256 song, uint8 state) external {
        song %= SONGS;
        if (_log.length >= LOG_MAX) return;
        StatusV1 memory status = StatusV1(bytes32(idOf(song)), ++_seq, state % 3, keccak256("cause"));
        uint64 index = uint64(_log.length);
        _log.push(nft.statusEntry(status));
        uint64 last = bridge.size();
        uint64 size = uint64(_log.length);
        SignedCheckpoint memory signed = _sign(Checkpoint(_epoch, size, MerkleLog.root(_log, size), 0), 3);
        bridge.submit(signed, MerkleLog.consistency(_log, last, size));
        sizes.push(size);
        nft.showStatus(status, Place(size, index, MerkleLog.inclusion(_log, index, size)));
        happened["status"]++;
    }

    function pay(uint256 song, uint256 actor, uint96 amount, bool inToken) external {
        song %= SONGS;
        address payer = actors[actor % actors.length];
        (, uint8 state,,,) = nft.statusOf(idOf(song));
        MintTermsV1 memory made = terms(song);
        bool fits = minted[song] && amount > 0 && state != 2;
        if (inToken) {
            coin.make(payer, amount);
            vm.prank(payer);
            coin.approve(address(nft), amount);
            vm.prank(payer);
            try nft.payToken(made, address(coin), amount) {
                if (!fits) broken++;
                happened["paid"]++;
            } catch {
                if (fits) broken++;
            }
        } else {
            vm.deal(payer, amount);
            vm.prank(payer);
            try nft.pay{value: amount}(made) {
                if (!fits) broken++;
                happened["paid"]++;
            } catch {
                if (fits) broken++;
            }
        }
    }

    function sell(uint256 song, uint256 actor, uint96 price) external {
        song %= SONGS;
        address buyer = actors[actor % actors.length];
        MintTermsV1 memory made = terms(song);
        vm.prank(actors[0]);
        try nft.offer(made, price) {} catch {}
        vm.deal(buyer, price);
        vm.prank(buyer);
        try nft.buy{value: price}(made, price) {
            happened["sold"]++;
        } catch {}
    }

    function release(uint256 song, bool inToken) external {
        try nft.release(terms(song % SONGS), inToken ? address(coin) : address(0)) {
            happened["released"]++;
        } catch {}
    }

    function refund(uint256 song, uint256 actor, bool inToken) external {
        uint256 id = idOf(song % SONGS);
        vm.prank(actors[actor % actors.length]);
        try nft.refund(id, inToken ? address(coin) : address(0)) {
            happened["refunded"]++;
        } catch {}
    }

    function withdraw(uint256 actor, bool inToken) external {
        address asset = inToken ? address(coin) : address(0);
        address account = actors[actor % actors.length];
        uint256 amount = nft.owed(asset, account);
        vm.prank(account);
        try nft.withdraw(asset, account) {
            if (amount == 0) broken++;
            happened["withdrawn"]++;
        } catch {
            if (amount != 0) broken++;
        }
    }

    function transfer(uint256 song, uint256 from, uint256 to) external {
        uint256 id = idOf(song % SONGS);
        address owner = actors[from % actors.length];
        address receiver = actors[to % actors.length];
        vm.prank(owner);
        try nft.transferFrom(owner, receiver, id) {
            happened["transferred"]++;
        } catch {}
    }

    function rotate(uint256 seed) external {
        uint256 newcomer = uint256(keccak256(abi.encode("newcomer", seed)));
        uint256[] memory before = _keys;
        SignedCheckpoint memory signed;
        (uint64 last, uint64 size) = (bridge.size(), uint64(_log.length));
        bytes32[] memory proof = new bytes32[](0);
        if (size > last) proof = MerkleLog.consistency(_log, last, size);
        signed.checkpoint = Checkpoint(_epoch, size, MerkleLog.root(_log, size), 0);
        signed.validators = _validators;
        // The newcomer takes the place of the first.
        delete _keys;
        delete _validators;
        for (uint256 i = 1; i < before.length; ++i) _insert(before[i]);
        _insert(newcomer);
        signed.checkpoint.successor = keccak256(abi.encode(_epoch + 1, _validators));
        signed.signatures = _signatures(before, bridge.checkpointDigest(signed.checkpoint), 3);
        expect(bridge.rotate(signed, _validators, proof), "an honest rotation was refused");
        if (size > last) sizes.push(size);
        _epoch++;
        happened["rotated"]++;
    }

    function _copy(uint256 count) private view returns (bytes32[] memory copy) {
        copy = new bytes32[](count);
        for (uint256 i = 0; i < count; ++i) copy[i] = i < _log.length ? _log[i] : keccak256(abi.encode("filler", i));
    }

    function _sign(Checkpoint memory checkpoint, uint256 count) private view returns (SignedCheckpoint memory signed) {
        signed.checkpoint = checkpoint;
        signed.validators = _validators;
        signed.signatures = _signatures(_keys, bridge.checkpointDigest(checkpoint), count);
    }

    function _signatures(uint256[] memory keys, bytes32 digest, uint256 count)
        private
        pure
        returns (Signature[] memory made)
    {
        made = new Signature[](count);
        for (uint256 i = 0; i < count; ++i) {
            (uint8 v, bytes32 r, bytes32 s) = vm.sign(keys[i], digest);
            made[i] = Signature(r, bytes32(uint256(v - 27) << 255 | uint256(s)));
        }
    }

    /// @dev Keeps keys and validators in the order of the addresses.
    function _insert(uint256 seed) private {
        uint256 key = seed % (2 ** 255) + 1;
        address account = vm.addr(key);
        _keys.push(key);
        _validators.push(account);
        for (uint256 i = _keys.length - 1; i > 0 && _validators[i - 1] > account; --i) {
            (_validators[i], _validators[i - 1]) = (_validators[i - 1], account);
            (_keys[i], _keys[i - 1]) = (_keys[i - 1], key);
        }
    }
}
