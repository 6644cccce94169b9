"""Every scene of the campaign by its name, in the order in which they are played."""

from __future__ import annotations

from collections.abc import Callable

from tests.campaign import faults
from tests.campaign.faults import Scene, Seen
from tests.campaign.membership import members_changed

SCENE_S_MAX = 150
"""No scene and its audit take longer on a quiet machine, but for those that repeat themselves."""
SCENE_S_MAX_OF = {"4-leader-killed-20-times": 500, "4-members-changed": 300}

SCENES: dict[str, tuple[int, bool, Callable[[Scene], Seen]]] = {
    "4-leader-killed": (4, False, faults.leader_killed),
    "4-follower-killed": (4, False, faults.follower_killed),
    "4-leader-frozen": (4, False, faults.leader_frozen),
    "4-follower-frozen-long": (4, False, faults.follower_frozen_long),
    "4-too-many-frozen": (4, False, faults.too_many_frozen),
    "4-all-killed": (4, False, faults.all_killed),
    "4-all-restarted": (4, False, faults.all_restarted),
    "4-data-lost": (4, False, faults.data_lost),
    "4-rolled-back": (4, False, faults.rolled_back),
    "4-disk-full": (4, False, faults.disk_full),
    "4-two-with-one-key": (4, False, faults.two_with_one_key),
    "4-leader-killed-20-times": (4, False, faults.leader_killed_often),
    "4-one-cut-off": (4, True, faults.one_cut_off),
    "4-one-stalled": (4, True, faults.one_stalled),
    "4-halves-cut": (4, True, faults.halves_cut),
    "4-halves-stalled": (4, True, faults.halves_stalled),
    "4-slow-wires": (4, True, faults.slow_wires),
    "4-flapping-wires": (4, True, faults.flapping_wires),
    "7-leader-killed": (7, True, faults.leader_killed),
    "7-f-killed": (7, True, faults.f_killed),
    "7-f-frozen": (7, True, faults.f_frozen),
    "7-f-cut-off": (7, True, faults.f_cut_off),
    "7-halves-cut": (7, True, faults.halves_cut),
    "7-all-killed": (7, True, faults.all_killed),
    "7-data-lost": (7, True, faults.data_lost),
    "4-members-changed": (4, False, members_changed),
}
"""Name -> (nodes, with wires, what happens). Those of one kind beside each other play on the same nodes; what makes the
log long comes last there, since every audit proves all of it."""
