// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {MintTermsV1, Terms} from "./Terms.sol";

/// @title Who is owed how much, of which asset. Nothing is ever pushed: everybody fetches their own.
/// @notice The asset zero is the chain's own coin. At any time the contract holds at least all that is owed and escrowed.
abstract contract Accounts is ReentrancyGuardTransient {
    using SafeERC20 for IERC20;

    struct Escrow {
        uint256 amount;
        /// @notice Goes up with every release: what was paid in before can then no longer be asked back.
        uint256 round;
    }

    mapping(address asset => mapping(address account => uint256 amount)) public owed;
    mapping(uint256 id => mapping(address asset => Escrow escrow)) public escrows;
    /// @dev What each payer put into an escrow in each of its rounds.
    mapping(uint256 id => mapping(address asset => mapping(uint256 round => mapping(address payer => uint256))))
        private _paidIn;

    event Credited(uint256 indexed id, address indexed asset, address indexed account, uint256 amount);
    event Escrowed(uint256 indexed id, address indexed asset, address indexed payer, uint256 amount);
    event Released(uint256 indexed id, address indexed asset, uint256 amount);
    event Refunded(uint256 indexed id, address indexed asset, address indexed payer, uint256 amount);
    event Withdrawn(address indexed asset, address indexed account, address indexed to, uint256 amount);

    error NothingPaid();
    error NothingOwed();
    error NothingEscrowed();
    /// @notice The chain's own coin comes with the call, not as a token.
    error NotAToken();
    error BadReceiver(address to);
    error CoinRefused(address to);

    /// @notice Sends the caller all that it is owed of one asset.
    /// @param to The caller, or where it wants it: a contract wallet may not take coins itself.
    function withdraw(address asset, address to) external nonReentrant {
        if (to == address(0) || to == address(this)) revert BadReceiver(to);
        uint256 amount = owed[asset][msg.sender];
        if (amount == 0) revert NothingOwed();
        owed[asset][msg.sender] = 0;
        emit Withdrawn(asset, msg.sender, to, amount);
        _send(asset, to, amount);
    }

    /// @notice What was paid for the token by the caller while its claim was disputed, back, as it has been revoked.
    function _refund(uint256 id, address asset) internal {
        Escrow storage escrow = escrows[id][asset];
        uint256 amount = _paidIn[id][asset][escrow.round][msg.sender];
        if (amount == 0) revert NothingEscrowed();
        _paidIn[id][asset][escrow.round][msg.sender] = 0;
        escrow.amount -= amount;
        owed[asset][msg.sender] += amount;
        emit Refunded(id, asset, msg.sender, amount);
    }

    function _escrow(uint256 id, address asset, uint256 amount) internal {
        Escrow storage escrow = escrows[id][asset];
        escrow.amount += amount;
        _paidIn[id][asset][escrow.round][msg.sender] += amount;
        emit Escrowed(id, asset, msg.sender, amount);
    }

    /// @notice Splits by the terms what was escrowed.
    function _release(uint256 id, MintTermsV1 calldata terms, address asset, address collector) internal {
        Escrow storage escrow = escrows[id][asset];
        uint256 amount = escrow.amount;
        if (amount == 0) revert NothingEscrowed();
        escrow.amount = 0;
        ++escrow.round;
        emit Released(id, asset, amount);
        _split(id, terms, asset, amount, collector);
    }

    /// @notice Credits every unit of `amount`: shares are rounded down, the creator has the rest.
    /// @param collector The first collector; zero as long as the token was never sold.
    function _split(uint256 id, MintTermsV1 calldata terms, address asset, uint256 amount, address collector)
        internal
    {
        uint256 rest = amount;
        rest -= _creditShare(id, asset, terms.curator, amount, terms.curatorShare);
        rest -= _creditShare(id, asset, collector, amount, terms.collectorShare);
        rest -= _creditShare(id, asset, terms.platform, amount, terms.platformShare);
        uint256 first = rest;
        for (uint256 i = 1; i < terms.payees.length; ++i) {
            first -= _creditShare(id, asset, terms.payees[i].account, rest, terms.payees[i].share);
        }
        _credit(id, asset, terms.payees[0].account, first);
    }

    /// @return part What was credited: nothing where there is nobody to credit.
    function _creditShare(uint256 id, address asset, address account, uint256 amount, uint256 share)
        private
        returns (uint256 part)
    {
        if (account == address(0)) return 0;
        part = amount * share / Terms.WHOLE;
        _credit(id, asset, account, part);
    }

    function _credit(uint256 id, address asset, address account, uint256 amount) private {
        if (amount == 0) return;
        owed[asset][account] += amount;
        emit Credited(id, asset, account, amount);
    }

    /// @notice Takes tokens from the caller. What counts is what arrived: some tokens keep a fee.
    function _take(address asset, uint256 amount) internal returns (uint256) {
        if (asset == address(0)) revert NotAToken();
        uint256 before = IERC20(asset).balanceOf(address(this));
        IERC20(asset).safeTransferFrom(msg.sender, address(this), amount);
        return IERC20(asset).balanceOf(address(this)) - before;
    }

    function _send(address asset, address to, uint256 amount) private {
        if (asset != address(0)) {
            IERC20(asset).safeTransfer(to, amount);
            return;
        }
        (bool taken,) = to.call{value: amount}("");
        if (!taken) revert CoinRefused(to);
    }
}
