// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Base64} from "@openzeppelin/contracts/utils/Base64.sol";
import {Strings} from "@openzeppelin/contracts/utils/Strings.sol";
import {Terms} from "./Terms.sol";

/// @title The metadata of a token, made on chain: it needs no server and cannot be changed behind the owner's back.
library TokenPage {
    using Strings for uint256;

    struct Facts {
        uint256 id;
        string title;
        uint256 edition;
        uint256 editions;
        uint8 state;
        uint256 seq;
        /// @notice Leaves of the checkpoint by which the status was shown.
        uint256 size;
        bool frozen;
    }

    function stateName(uint8 state) internal pure returns (string memory) {
        if (state == Terms.DISPUTED) return "disputed";
        return state == Terms.REVOKED ? "revoked" : "active";
    }

    /// @return A data URI with JSON as ERC-721 and marketplaces read it.
    function uri(Facts memory facts) internal pure returns (string memory) {
        bytes memory json = abi.encodePacked(
            '{"name":"',
            Strings.escapeJSON(facts.title),
            " (",
            facts.edition.toString(),
            "/",
            facts.editions.toString(),
            ')","description":"Minted against the leaf ',
            facts.id.toHexString(32),
            " of a log that several institutions sign. The status is that of the claim, as of the checkpoint's size.",
            '","attributes":[',
            _attributes(facts),
            "]}"
        );
        return string.concat("data:application/json;base64,", Base64.encode(json));
    }

    function _attributes(Facts memory facts) private pure returns (bytes memory) {
        return abi.encodePacked(
            '{"trait_type":"Status","value":"',
            stateName(facts.state),
            '"},{"trait_type":"Status sequence","display_type":"number","value":',
            facts.seq.toString(),
            '},{"trait_type":"Checkpoint size","display_type":"number","value":',
            facts.size.toString(),
            '},{"trait_type":"Bridge","value":"',
            facts.frozen ? "frozen" : "live",
            '"}'
        );
    }
}
