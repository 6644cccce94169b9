// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC2981} from "@openzeppelin/contracts/interfaces/IERC2981.sol";
import {IERC4906} from "@openzeppelin/contracts/interfaces/IERC4906.sol";
import {ERC721} from "@openzeppelin/contracts/token/ERC721/ERC721.sol";
import {IERC165} from "@openzeppelin/contracts/utils/introspection/IERC165.sol";
import {Accounts} from "./Accounts.sol";
import {CheckpointBridge} from "./CheckpointBridge.sol";
import {MintTermsV1, StatusV1, Terms} from "./Terms.sol";
import {TokenPage} from "./TokenPage.sol";

/// @notice Where in the log an entry is, and the proof of it.
struct Place {
    /// @notice Leaves of a checkpoint that the bridge has accepted.
    uint64 size;
    /// @notice Of the entry, from 0.
    uint64 index;
    bytes32[] path;
}

/// @title Music tokens that can be minted only against terms which a consortium has made final in its log.
/// @notice A token's id is the entry of its MINT leaf, which is the hash of its terms: so the terms are proved by whoever
/// brings them and need not be stored. The claim's status is shown and decides over income; nothing is ever burned.
contract MusicNFT is ERC721, IERC2981, IERC4906, Accounts {
    struct Token {
        address royaltyTo;
        uint16 royalty;
        /// @notice Leaves of the checkpoint that it was minted against.
        uint64 size;
    }

    struct Status {
        uint64 seq;
        uint8 state;
        /// @notice Leaves of the checkpoint that showed it; 0 before any did.
        uint64 size;
        uint32 edition;
        uint32 editions;
    }

    CheckpointBridge public immutable bridge;
    bytes32 public immutable genesis;

    /// @notice By mint leaf; also of tokens that are not minted yet.
    mapping(uint256 id => Status status) public statusOf;
    mapping(uint256 id => Token token) public tokens;
    mapping(uint256 id => address collector) public firstCollector;
    /// @notice Price of the first sale, in the asset that the terms name; 0 while there is no offer.
    mapping(uint256 id => uint256 price) public offers;
    mapping(uint256 id => string title) private _titles;

    /// @notice The terms in full, as they are not stored.
    event Minted(uint256 indexed id, address indexed minter, bytes32 indexed claim, uint64 size, MintTermsV1 terms);
    event StatusShown(uint256 indexed id, uint64 seq, uint8 state, bytes32 cause, uint64 size);
    event Income(uint256 indexed id, address indexed asset, address indexed payer, uint256 amount);
    event Offered(uint256 indexed id, uint256 price);
    event FirstSold(uint256 indexed id, address indexed collector, address asset, uint256 price);

    error WrongChain(uint256 terms, uint256 here);
    error WrongContract(address terms, address here);
    error WrongMinter(address terms, address caller);
    error AlreadyMinted(uint256 id);
    error NotMinted(uint256 id);
    error Disputed(uint256 id);
    error Revoked(uint256 id);
    error NotRevoked(uint256 id);
    error StaleStatus(uint64 seq, uint64 known);
    error NotTheOwner(address caller, address owner);
    error AlreadySold(uint256 id);
    error BelowFloor(uint256 price, uint256 floor);
    error NotOffered(uint256 id);
    error PriceChanged(uint256 price, uint256 offered);
    error WrongPayment(uint256 paid, uint256 price);

    constructor(CheckpointBridge bridge_) ERC721("Stretto", "STRETTO") {
        bridge = bridge_;
        genesis = bridge_.genesis();
    }

    /// @notice Mints to the minter whom the terms name, which must be the caller.
    function mint(MintTermsV1 calldata terms, Place calldata place) external returns (uint256 id) {
        if (terms.chainId != block.chainid) revert WrongChain(terms.chainId, block.chainid);
        if (terms.nft != address(this)) revert WrongContract(terms.nft, address(this));
        if (terms.minter != msg.sender) revert WrongMinter(terms.minter, msg.sender);
        Terms.check(terms);
        bytes32 entry = Terms.mintEntry(genesis, terms);
        id = uint256(entry);
        if (_ownerOf(id) != address(0)) revert AlreadyMinted(id);
        Status storage status = statusOf[id];
        _requireActive(id, status.state);
        bridge.checkIncluded(entry, place.index, place.size, place.path);
        tokens[id] = Token(terms.royaltyTo, terms.royalty, place.size);
        status.edition = terms.edition;
        status.editions = terms.editions;
        _titles[id] = terms.title;
        emit Minted(id, msg.sender, terms.claim, place.size, terms);
        _mint(msg.sender, id); // the caller asked for it: no need to call it back
    }

    /// @notice Takes in a STATUS leaf. Anybody may bring it, also before the token is minted; only a later one counts.
    function showStatus(StatusV1 calldata status, Place calldata place) external {
        uint256 id = uint256(status.mint);
        Status storage known = statusOf[id];
        Terms.checkState(status.state);
        if (status.seq <= known.seq) revert StaleStatus(status.seq, known.seq);
        bridge.checkIncluded(Terms.statusEntry(genesis, status), place.index, place.size, place.path);
        known.seq = status.seq;
        known.state = status.state;
        known.size = place.size;
        emit StatusShown(id, status.seq, status.state, status.cause, place.size);
        if (_ownerOf(id) != address(0)) emit MetadataUpdate(id);
    }

    /// @notice Pays income from the work in the chain's own coin.
    function pay(MintTermsV1 calldata terms) external payable nonReentrant {
        _income(terms, address(0), msg.value);
    }

    /// @notice Pays income from the work in an ERC-20 token that the caller has approved.
    function payToken(MintTermsV1 calldata terms, address asset, uint256 amount) external nonReentrant {
        _income(terms, asset, _take(asset, amount));
    }

    /// @notice Credits what was paid while the claim was disputed, now that it is active again.
    function release(MintTermsV1 calldata terms, address asset) external nonReentrant {
        uint256 id = _minted(terms);
        _requireActive(id, statusOf[id].state);
        _release(id, terms, asset, firstCollector[id]);
    }

    /// @notice Gives the caller back what it paid while the claim was disputed, now that it is revoked.
    function refund(uint256 id, address asset) external nonReentrant {
        if (statusOf[id].state != Terms.REVOKED) revert NotRevoked(id);
        _refund(id, asset);
    }

    /// @notice Offers the token for its first sale, by the minter while it owns it. The price 0 takes the offer back.
    function offer(MintTermsV1 calldata terms, uint256 price) external {
        uint256 id = _minted(terms);
        address owner = ownerOf(id);
        if (msg.sender != owner) revert NotTheOwner(msg.sender, owner);
        if (msg.sender != terms.minter) revert WrongMinter(terms.minter, msg.sender);
        if (firstCollector[id] != address(0)) revert AlreadySold(id);
        if (price != 0 && price < terms.saleFloor) revert BelowFloor(price, terms.saleFloor);
        offers[id] = price;
        emit Offered(id, price);
    }

    /// @notice Buys the token from its minter. The price is primary income of a token not sold before; from then on the
    /// caller is its first collector.
    /// @param price What the caller agrees to, so that an offer changed meanwhile does not bind it.
    function buy(MintTermsV1 calldata terms, uint256 price) external payable nonReentrant {
        uint256 id = _minted(terms);
        uint256 offered = offers[id];
        if (offered == 0) revert NotOffered(id);
        if (price != offered) revert PriceChanged(price, offered);
        _requireActive(id, statusOf[id].state);
        address asset = terms.saleAsset;
        if (msg.value != (asset == address(0) ? price : 0)) revert WrongPayment(msg.value, price);
        uint256 paid = asset == address(0) ? price : _take(asset, price);
        if (paid < price) revert WrongPayment(paid, price);
        _split(id, terms, asset, paid, address(0));
        firstCollector[id] = msg.sender;
        emit FirstSold(id, msg.sender, asset, price);
        _transfer(terms.minter, msg.sender, id);
    }

    /// @notice ERC-2981. Nothing makes a marketplace pay it.
    function royaltyInfo(uint256 id, uint256 price) external view returns (address, uint256) {
        _requireMinted(id);
        return (tokens[id].royaltyTo, price * tokens[id].royalty / Terms.WHOLE);
    }

    function tokenURI(uint256 id) public view override returns (string memory) {
        _requireMinted(id);
        Status storage status = statusOf[id];
        return TokenPage.uri(
            TokenPage.Facts({
                id: id,
                title: _titles[id],
                edition: status.edition,
                editions: status.editions,
                state: status.state,
                seq: status.seq,
                size: status.size == 0 ? tokens[id].size : status.size,
                frozen: bridge.frozen()
            })
        );
    }

    /// @notice The id that a token of these terms has.
    function idOf(MintTermsV1 calldata terms) external view returns (uint256) {
        return uint256(Terms.mintEntry(genesis, terms));
    }

    /// @notice The log entry of a STATUS leaf.
    function statusEntry(StatusV1 calldata status) external view returns (bytes32) {
        return Terms.statusEntry(genesis, status);
    }

    function supportsInterface(bytes4 interfaceId) public view override(ERC721, IERC165) returns (bool) {
        return interfaceId == type(IERC2981).interfaceId || interfaceId == bytes4(0x49064906) // ERC-4906
            || super.supportsInterface(interfaceId);
    }

    /// @dev An offer ends with the minter's ownership.
    function _update(address to, uint256 id, address auth) internal override returns (address from) {
        from = super._update(to, id, auth);
        if (offers[id] != 0) delete offers[id];
    }

    function _income(MintTermsV1 calldata terms, address asset, uint256 amount) private {
        uint256 id = _minted(terms);
        if (amount == 0) revert NothingPaid();
        uint8 state = statusOf[id].state;
        if (state == Terms.REVOKED) revert Revoked(id);
        emit Income(id, asset, msg.sender, amount);
        if (state == Terms.DISPUTED) _escrow(id, asset, amount);
        else _split(id, terms, asset, amount, firstCollector[id]);
    }

    function _minted(MintTermsV1 calldata terms) private view returns (uint256 id) {
        id = uint256(Terms.mintEntry(genesis, terms));
        _requireMinted(id);
    }

    function _requireMinted(uint256 id) private view {
        if (_ownerOf(id) == address(0)) revert NotMinted(id);
    }

    function _requireActive(uint256 id, uint8 state) private pure {
        if (state == Terms.DISPUTED) revert Disputed(id);
        if (state == Terms.REVOKED) revert Revoked(id);
    }
}
