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
