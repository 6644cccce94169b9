// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Quorum, Signature} from "./Quorum.sol";
import {Rfc9162} from "./Rfc9162.sol";

/// @notice What validators sign for the public chains: the log's first `size` leaves have this root.
struct Checkpoint {
    /// @notice Of the committee that signs.
    uint64 epoch;
    uint64 size;
    bytes32 root;
    /// @notice Zero; at the boundary of an epoch, what names the set of the next one.
    bytes32 successor;
}

struct SignedCheckpoint {
    Checkpoint checkpoint;
    /// @notice The whole set of the epoch, which the contract knows by hash alone.
    address[] validators;
    /// @notice By a quorum of them, in the order of their addresses.
    Signature[] signatures;
}

/// @notice That an entry is a leaf of a tree (RFC 9162).
struct Inclusion {
    bytes32 entry;
    bytes32[] path;
}

/// @title Checkpoints of one consortium's log on this chain.
/// @notice Accepts a checkpoint that a quorum of validators signed and that provably extends the last one. Nobody owns
/// it, nothing in it can be upgraded, anybody may call it. A proof that validators contradict themselves freezes it;
/// only the recovery quorum named at deployment can then install another set, and even that cannot rewrite the log.
contract CheckpointBridge {
    /// @notice For how long after a rotation the previous set's signatures are still evidence against it.
    uint64 public constant PREVIOUS_SET_SECONDS = 7 days;

    bytes32 private constant DOMAIN_TYPE = keccak256("EIP712Domain(string name,string version,bytes32 salt)");
    bytes32 private constant CHECKPOINT_TYPE =
        keccak256("Checkpoint(uint64 epoch,uint64 size,bytes32 root,bytes32 successor)");
    bytes32 private constant RECOVERY_TYPE = keccak256("Recovery(uint64 epoch,bytes32 successor)");

    /// @notice SHA-256 of the consortium's genesis file.
    bytes32 public immutable genesis;
    /// @notice EIP-712 domain without chain and contract: one set of signatures serves every chain.
    bytes32 public immutable domainSeparator;
    /// @notice keccak256(abi.encode(uint64(0), addresses)) of the recovery set.
    bytes32 public immutable recoverySet;

    /// @notice Root of the log's first `size` leaves, for every size accepted; zero for all others.
    mapping(uint64 size => bytes32 root) public rootAt;
    uint64 public epoch;
    /// @notice Leaves of the last accepted checkpoint.
    uint64 public size;
    /// @notice Seconds since the Unix epoch.
    uint64 public previousSetUntil;
    bool public frozen;
    /// @notice keccak256(abi.encode(epoch, validators)).
    bytes32 public validatorSet;
    /// @notice The set of the epoch before, or zero.
    bytes32 public previousSet;

    event CheckpointAccepted(uint64 indexed size, bytes32 root, uint64 epoch);
    event Rotated(uint64 indexed epoch, bytes32 validatorSet, address[] validators);
    event Recovered(uint64 indexed epoch, bytes32 validatorSet, address[] validators, uint64 size, bytes32 root);
    /// @notice A quorum contradicted itself. The signatures are in the transaction's input.
    event Forked(Checkpoint a, Checkpoint b);

    error ZeroGenesis();
    error ZeroEntry();
    error ZeroSize();
    error ZeroRoot();
    error SizeTooLarge(uint64 size);
    /// @notice The bridge is frozen by a fork proof.
    error Frozen();
    error StaleEpoch(uint64 epoch, uint64 current);
    /// @notice The addresses are not the set that is committed to.
    error ForeignSet(bytes32 computed, bytes32 expected);
    error StaleSize(uint64 size, uint64 current);
    /// @notice A boundary checkpoint is for `rotate`, every other one for `submit`.
    error BoundaryCheckpoint();
    error WrongSuccessor(bytes32 computed, bytes32 signed);
    error NotRecorded(uint64 size);
    error NotAFork();
    error UnknownCheckpoint(uint64 size);

    /// @param firstEntry The log's entry 0: its leaf hash is the root of the first leaf alone.
    /// @param firstEpoch The epoch of `validators`.
    /// @param recovery Addresses of those who may install another set: 4 to 64, none of them a validator's.
    constructor(
        bytes32 genesis_,
        bytes32 firstEntry,
        uint64 firstEpoch,
        address[] memory validators,
        address[] memory recovery
    ) {
        if (genesis_ == 0) revert ZeroGenesis();
        if (firstEntry == 0) revert ZeroEntry();
        Quorum.checkSet(validators);
        Quorum.checkSet(recovery);
        Quorum.checkDisjoint(validators, recovery);
        genesis = genesis_;
        domainSeparator = keccak256(abi.encode(DOMAIN_TYPE, keccak256("Stretto"), keccak256("1"), genesis_));
        recoverySet = Quorum.hashOf(0, recovery);
        validatorSet = Quorum.hashOf(firstEpoch, validators);
        epoch = firstEpoch;
        size = 1;
        bytes32 root = Rfc9162.leafHash(firstEntry);
        rootAt[1] = root;
        emit Rotated(firstEpoch, validatorSet, validators);
        emit CheckpointAccepted(1, root, firstEpoch);
    }

    /// @notice Records a checkpoint of the current epoch. One that is recorded already changes nothing and costs little.
    /// @param consistency RFC 9162 consistency proof from the last accepted size.
    /// @return Whether it was recorded. False also for a root other than the one recorded at that size: it freezes.
    function submit(SignedCheckpoint calldata signed, bytes32[] calldata consistency) external returns (bool) {
        Checkpoint calldata checkpoint = signed.checkpoint;
        if (frozen) revert Frozen();
        if (checkpoint.successor != 0) revert BoundaryCheckpoint();
        _checkValues(checkpoint);
        if (rootAt[checkpoint.size] == checkpoint.root) return false;
        _checkCurrent(signed);
        return _advance(checkpoint, consistency);
    }

    /// @notice Goes on to the next epoch, whose set the current one has signed in its boundary checkpoint.
    /// @param next The validators of the next epoch.
    /// @return Whether the epoch changed. False also when the boundary contradicts what is recorded: it freezes.
    function rotate(SignedCheckpoint calldata signed, address[] calldata next, bytes32[] calldata consistency)
        external
        returns (bool)
    {
        Checkpoint calldata checkpoint = signed.checkpoint;
        if (frozen) revert Frozen();
        if (checkpoint.successor == 0) revert BoundaryCheckpoint();
        if (checkpoint.successor == validatorSet) return false; // brought by somebody else before
        _checkValues(checkpoint);
        _checkCurrent(signed);
        Quorum.checkSet(next);
        bytes32 computed = Quorum.hashOf(checkpoint.epoch + 1, next);
        if (computed != checkpoint.successor) revert WrongSuccessor(computed, checkpoint.successor);
        bool recorded = rootAt[checkpoint.size] == checkpoint.root && checkpoint.size == size;
        if (!recorded && !_advance(checkpoint, consistency)) return false;
        previousSet = validatorSet;
        previousSetUntil = uint64(block.timestamp) + PREVIOUS_SET_SECONDS;
        validatorSet = computed;
        epoch = checkpoint.epoch + 1;
        emit Rotated(epoch, computed, next);
        return true;
    }

    /// @notice Installs another set, by the recovery quorum, and ends a freeze. The last size and root stay.
    /// @dev The set before is forgotten: it could otherwise freeze the bridge again with the evidence against itself.
    /// @param newEpoch Any above the current one, so that no such decision counts twice.
    function recover(
        uint64 newEpoch,
        address[] calldata next,
        address[] calldata recovery,
        Signature[] calldata signatures
    ) external {
        bytes32 computed = Quorum.hashOf(0, recovery);
        if (computed != recoverySet) revert ForeignSet(computed, recoverySet);
        if (newEpoch <= epoch) revert StaleEpoch(newEpoch, epoch);
        Quorum.checkSet(next);
        Quorum.checkDisjoint(next, recovery);
        bytes32 successor = Quorum.hashOf(newEpoch, next);
        Quorum.check(recoveryDigest(newEpoch, successor), recovery, signatures);
        epoch = newEpoch;
        validatorSet = successor;
        previousSet = 0;
        previousSetUntil = 0;
        frozen = false;
        emit Recovered(newEpoch, successor, next, size, rootAt[size]);
    }

    /// @notice Freezes on two checkpoints that cannot both be honest: two roots of one size, or two ends of one epoch.
    /// @dev Each is signed by the current or, for seven days, the previous set; or it is recorded here, and then needs
    /// no signatures. Reverts only where there is no such proof, also when frozen already.
    function reportFork(SignedCheckpoint calldata a, SignedCheckpoint calldata b) external {
        _checkEvidence(a);
        _checkEvidence(b);
        Checkpoint calldata x = a.checkpoint;
        Checkpoint calldata y = b.checkpoint;
        bool roots = x.size == y.size && x.root != y.root;
        bool ends = x.epoch == y.epoch && x.successor != 0 && y.successor != 0
            && (x.successor != y.successor || x.size != y.size);
        if (!roots && !ends) revert NotAFork();
        _freeze(x, y);
    }

    /// @notice Freezes on two checkpoints of any sizes whose trees have different entries at one index.
    function reportForkedLeaf(
        SignedCheckpoint calldata a,
        SignedCheckpoint calldata b,
        uint64 index,
        Inclusion calldata inA,
        Inclusion calldata inB
    ) external {
        _checkEvidence(a);
        _checkEvidence(b);
        if (inA.entry == inB.entry) revert NotAFork();
        Checkpoint calldata x = a.checkpoint;
        Checkpoint calldata y = b.checkpoint;
        Rfc9162.checkInclusion(Rfc9162.leafHash(inA.entry), index, x.size, x.root, inA.path);
        Rfc9162.checkInclusion(Rfc9162.leafHash(inB.entry), index, y.size, y.root, inB.path);
        _freeze(x, y);
    }

    /// @notice Reverts unless `entry` is at `index` of the log's first `atSize` leaves, a recorded size, or if frozen.
    function checkIncluded(bytes32 entry, uint64 index, uint64 atSize, bytes32[] calldata path) external view {
        if (frozen) revert Frozen();
        bytes32 root = rootAt[atSize];
        if (root == 0) revert UnknownCheckpoint(atSize);
        Rfc9162.checkInclusion(Rfc9162.leafHash(entry), index, atSize, root, path);
    }

    /// @notice What a validator signs: the EIP-712 digest of a checkpoint.
    function checkpointDigest(Checkpoint calldata checkpoint) public view returns (bytes32) {
        return _digest(
            keccak256(
                abi.encode(
                    CHECKPOINT_TYPE, checkpoint.epoch, checkpoint.size, checkpoint.root, checkpoint.successor
                )
            )
        );
    }

    /// @notice What the recovery quorum signs to install the set named `successor` as that of `newEpoch`.
    function recoveryDigest(uint64 newEpoch, bytes32 successor) public view returns (bytes32) {
        return _digest(keccak256(abi.encode(RECOVERY_TYPE, newEpoch, successor)));
    }

    /// @notice Signatures that a set of `count` needs.
    function quorumOf(uint256 count) external pure returns (uint256) {
        return Quorum.sizeFor(count);
    }

    function _digest(bytes32 structHash) private view returns (bytes32) {
        return keccak256(abi.encodePacked(hex"1901", domainSeparator, structHash));
    }

    function _checkValues(Checkpoint calldata checkpoint) private pure {
        if (checkpoint.size == 0) revert ZeroSize();
        if (checkpoint.size > Rfc9162.SIZE_MAX) revert SizeTooLarge(checkpoint.size);
        // An unknown size reads as the root zero: a zero root would be "recorded" everywhere (the Nomad bridge, 2022).
        if (checkpoint.root == 0) revert ZeroRoot();
    }

    function _checkCurrent(SignedCheckpoint calldata signed) private view {
        if (signed.checkpoint.epoch != epoch) revert StaleEpoch(signed.checkpoint.epoch, epoch);
        _checkSignedBy(validatorSet, signed);
    }

    function _checkSignedBy(bytes32 set, SignedCheckpoint calldata signed) private view {
        bytes32 computed = Quorum.hashOf(signed.checkpoint.epoch, signed.validators);
        if (computed != set) revert ForeignSet(computed, set);
        Quorum.check(checkpointDigest(signed.checkpoint), signed.validators, signed.signatures);
    }

    function _checkEvidence(SignedCheckpoint calldata signed) private view {
        Checkpoint calldata checkpoint = signed.checkpoint;
        _checkValues(checkpoint);
        if (signed.signatures.length == 0) {
            bool recorded = rootAt[checkpoint.size] == checkpoint.root && checkpoint.successor == 0;
            if (!recorded) revert NotRecorded(checkpoint.size);
        } else if (checkpoint.epoch == epoch) {
            _checkSignedBy(validatorSet, signed);
        } else {
            if (block.timestamp > previousSetUntil) revert StaleEpoch(checkpoint.epoch, epoch);
            _checkSignedBy(previousSet, signed);
        }
    }

    /// @dev Signatures are checked. A second root at a recorded size freezes and does not revert: that would erase it.
    function _advance(Checkpoint calldata checkpoint, bytes32[] calldata consistency) private returns (bool) {
        bytes32 known = rootAt[checkpoint.size];
        if (known != 0 && known != checkpoint.root) {
            _freeze(Checkpoint(0, checkpoint.size, known, 0), checkpoint);
            return false;
        }
        if (checkpoint.size <= size) revert StaleSize(checkpoint.size, size);
        Rfc9162.checkConsistency(size, rootAt[size], checkpoint.size, checkpoint.root, consistency);
        rootAt[checkpoint.size] = checkpoint.root;
        size = checkpoint.size;
        emit CheckpointAccepted(checkpoint.size, checkpoint.root, checkpoint.epoch);
        return true;
    }

    function _freeze(Checkpoint memory a, Checkpoint memory b) private {
        frozen = true;
        emit Forked(a, b);
    }
}
