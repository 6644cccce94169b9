// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {Accounts} from "../src/Accounts.sol";
import {MusicNFT} from "../src/MusicNFT.sol";
import {MintTermsV1} from "../src/Terms.sol";

/// @notice Anybody makes as much of it as they like.
contract PlainToken is ERC20("Plain", "PLN") {
    function make(address to, uint256 amount) external {
        _mint(to, amount);
    }
}

/// @notice Keeps a tenth of every transfer.
contract FeeToken is ERC20("Fee", "FEE") {
    function make(address to, uint256 amount) external {
        _mint(to, amount);
    }

    function _update(address from, address to, uint256 amount) internal override {
        super._update(from, to, amount);
        if (from != address(0) && to != address(0)) super._update(to, address(0xfee), amount / 10);
    }
}

/// @notice Calls the token contract back while it is being paid, to be counted twice.
contract ReentrantToken is ERC20("Reentrant", "RE") {
    MusicNFT public target;
    bytes public callback;
    bool public refused;

    function make(address to, uint256 amount) external {
        _mint(to, amount);
    }

    function arm(MusicNFT target_, bytes calldata callback_) external {
        target = target_;
        callback = callback_;
        _approve(address(this), address(target_), type(uint256).max); // it can pay itself
    }

    function _update(address from, address to, uint256 amount) internal override {
        super._update(from, to, amount);
        if (callback.length == 0) return;
        bytes memory data = callback;
        delete callback;
        (bool done,) = address(target).call(data);
        refused = !done;
    }
}

/// @notice Owns nothing but what it is owed, and asks for it again while it is being paid.
contract ReentrantPayee {
    Accounts public immutable accounts;
    bool public refused;
    bool private _entered;

    constructor(Accounts accounts_) {
        accounts = accounts_;
    }

    function withdraw() external {
        accounts.withdraw(address(0), address(this));
    }

    receive() external payable {
        if (_entered) return;
        _entered = true;
        try accounts.withdraw(address(0), address(this)) {
            refused = false;
        } catch {
            refused = true;
        }
    }
}

/// @notice Takes no coins, and can name who does.
contract CoinRefuser {
    function withdraw(Accounts accounts, address to) external {
        accounts.withdraw(address(0), to);
    }
}
