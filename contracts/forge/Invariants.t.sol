// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {CheckpointBridge} from "../src/CheckpointBridge.sol";
import {MusicNFT} from "../src/MusicNFT.sol";
import {Testing} from "./Vm.sol";
import {World} from "./World.sol";

/// @notice What holds after anything that anybody does, in any order.
contract InvariantsTest is Testing {
    World private _world;

    function setUp() external {
        _world = new World();
    }

    /// @dev Asked by forge: who is to be called.
    function targetContracts() external view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(_world);
    }

    /// @notice Calls that forge draws could all come to nothing: here each does what the invariants are about.
    function test_world_does_what_the_invariants_are_about() external {
        _world.appendTerms(0);
        _world.appendTerms(1);
        _world.appendAnything(7);
        _world.submitWithoutQuorum(2);
        _world.submit(_world.SONGS());
        _world.mint(0);
        _world.mint(0);
        _world.rewrite(1, 3, "x");
        _world.pay(0, 5, 1_000, false);
        _world.pay(0, 5, 1_000, true);
        _world.sell(0, 5, 500);
        _world.transfer(0, 5, 4);
        _world.rotate(3);
        _world.showStatus(0, 1);
        _world.pay(0, 4, 900, true);
        _world.showStatus(0, 0);
        _world.release(0, true);
        _world.showStatus(0, 1);
        _world.pay(0, 4, 800, false);
        _world.showStatus(0, 2);
        _world.refund(0, 4, false);
        _world.withdraw(1, true);
        _world.withdraw(1, false);
        string[11] memory all = [
            "submitted", "refused", "minted", "paid", "sold", "transferred", "rotated", "status", "released", "refunded",
            "withdrawn"
        ];
        for (uint256 i = 0; i < all.length; ++i) expect(_world.happened(all[i]) > 0, all[i]);
        expect(_world.mints() == 1, "one token");
        expect(_world.broken() == 0, "nothing forbidden");
        expect(_due(address(0)) == address(_world.nft()).balance && _due(address(0)) > 0, "solvent");
    }

    function invariant_nothing_forbidden_succeeds() external view {
        expect(_world.broken() == 0, "something forbidden succeeded, or something honest was refused");
    }

    function invariant_log_is_append_only() external view {
        CheckpointBridge bridge = _world.bridge();
        uint64 largest = 0;
        for (uint256 i = 0; i < _world.sizeCount(); ++i) {
            uint64 size = _world.sizes(i);
            expect(size > largest, "a size did not grow");
            expect(bridge.rootAt(size) == _world.prefixRoot(size), "a root is not that of the log");
            largest = size;
        }
        expect(bridge.size() == largest, "the last size is another");
        expect(!bridge.frozen(), "nobody has proved a fork");
    }

    function invariant_one_token_for_each_leaf_minted() external view {
        MusicNFT nft = _world.nft();
        uint256 held = 0;
        for (uint256 i = 0; i < _world.actorCount(); ++i) held += nft.balanceOf(_world.actors(i));
        expect(held == _world.mints(), "tokens and mints differ");
        uint256 songs = 0;
        for (uint256 i = 0; i < _world.SONGS(); ++i) if (_world.minted(i)) songs++;
        expect(songs == _world.mints(), "a leaf was minted twice");
    }

    function invariant_solvent_to_the_unit() external view {
        MusicNFT nft = _world.nft();
        expect(_due(address(0)) == address(nft).balance, "coins owed and coins held differ");
        expect(_due(address(_world.coin())) == _world.coin().balanceOf(address(nft)), "tokens owed and held differ");
    }

    function _due(address asset) private view returns (uint256 due) {
        MusicNFT nft = _world.nft();
        for (uint256 i = 0; i < _world.actorCount(); ++i) due += nft.owed(asset, _world.actors(i));
        for (uint256 i = 0; i < _world.SONGS(); ++i) {
            (uint256 amount,) = nft.escrows(_world.idOf(i), asset);
            due += amount;
        }
    }
}
