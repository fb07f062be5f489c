"""The faults that virtual machine monitors have had with hostile drivers, and the tests of each here: of the C walker
or of the device by itself, and through real exits by a small flat guest. A row without the latter says why."""

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[3]
WALKER = "native/test_virtqueue.py"
DEVICES = "devices/virtio/"
GUESTS, HOSTILE = DEVICES + "test_guests.py", DEVICES + "test_hostile_guests.py"
BROKEN_GUEST = f"{GUESTS}::test_a_hostile_driver_harms_its_own_device_alone_until_it_resets_it"
BROKEN_CHAIN = f"{WALKER}::test_a_broken_chain_stops_its_queue_until_it_is_started_again"
NO_QUEUE = f"{WALKER}::test_a_queue_that_is_no_queue_does_not_start"
NO_QUEUE_GUEST = f"{GUESTS}::test_a_queue_that_cannot_be"
TABLE_GUEST = f"{HOSTILE}::test_a_broken_table_stops_its_device_alone_until_a_reset"

# What is wrong: (by itself, through real exits). [...] names a case of a test's table.
FAULTS: dict[str, tuple[list[str], list[str] | str]] = {
    "a bad head is parsed again and again": (
        [f"{BROKEN_CHAIN}[a head beyond the queue]", f"{BROKEN_CHAIN}[the largest head]"],
        [f"{BROKEN_GUEST}[a head beyond the queue]", f"{TABLE_GUEST}[the largest head]"],
    ),
    "the available index is further ahead than the queue is long": (
        [f"{BROKEN_CHAIN}[more chains than the queue is long]"],
        [f"{BROKEN_GUEST}[more chains than the queue is long]"],
    ),
    "indices wider than 16 bits never wrap": (
        [f"{WALKER}::test_any_traffic_of_a_correct_driver_is_understood"],
        [f"{HOSTILE}::test_indices_wrap_and_no_interrupt_is_lost"],
    ),
    "used_event is off by one": (
        [
            f"{WALKER}::test_the_driver_gets_the_interrupts_that_it_asks_for",
            f"{WALKER}::test_an_interrupt_is_not_lost_after_65536_chains",
        ],
        [f"{HOSTILE}::test_indices_wrap_and_no_interrupt_is_lost"],
    ),
    "an interrupt or a notification is lost for want of a barrier": (
        [
            f"{WALKER}::test_the_device_asks_for_notifications_only_while_it_waits",
            DEVICES + "test_datapath.py::test_no_request_and_no_interrupt_is_lost",
        ],
        [f"{HOSTILE}::test_indices_wrap_and_no_interrupt_is_lost"],
    ),
    "a size is 0, too large, no power of two, or cut to 16 bits": (
        [NO_QUEUE, DEVICES + "test_mmio.py::test_a_size_of_more_than_16_bits_is_not_cut"],
        [NO_QUEUE_GUEST],
    ),
    "a selected queue out of range indexes an array": (
        [
            DEVICES + "test_mmio.py::test_a_queue_is_selected_by_32_bits",
            DEVICES + "test_common.py::test_the_longest_queue",
        ],
        [f"{HOSTILE}::test_a_queue_that_there_is_not_is_none"],
    ),
    "rings are misaligned, outside RAM, or wrap": (
        [NO_QUEUE, DEVICES + "test_common.py::test_a_queue_that_cannot_be"],
        [NO_QUEUE_GUEST],
    ),
    "address and length wrap": (
        [f"{BROKEN_CHAIN}[address and length wrap]"],
        [f"{BROKEN_GUEST}[a buffer whose end wraps]"],
    ),
    "the sum of a chain's lengths has no bound": (
        [f"{WALKER}::test_a_chain_has_less_than_four_gib", f"{WALKER}::test_a_chain_is_no_longer_than_1024"],
        [f"{HOSTILE}::test_a_chain_of_four_gib_stops_its_device"],
    ),
    "a chain loops": (
        [f"{BROKEN_CHAIN}[a chain that loops]", f"{BROKEN_CHAIN}[a table that loops after a descriptor]"],
        [f"{BROKEN_GUEST}[a chain that loops]", f"{TABLE_GUEST}[a table that loops]"],
    ),
    "a table in a table": (
        [f"{BROKEN_CHAIN}[a table in a table]"],
        [f"{TABLE_GUEST}[a table in a table]", f"{BROKEN_GUEST}[the queue's own table as an indirect one]"],
    ),
    "a table with a next descriptor": (
        [f"{BROKEN_CHAIN}[a table with a next descriptor]"],
        [f"{TABLE_GUEST}[a table with a next descriptor]"],
    ),
    "a table of no bytes, or of no whole descriptors": (
        [f"{BROKEN_CHAIN}[a table of no bytes]", f"{BROKEN_CHAIN}[a table of one and a half]"],
        [f"{TABLE_GUEST}[a table of no bytes]", f"{TABLE_GUEST}[a table of one and a half descriptors]"],
    ),
    "WRITE of a table's descriptor is not ignored": (
        [f"{WALKER}::test_what_is_unusual_and_right"],
        [f"{HOSTILE}::test_a_table_that_says_it_is_to_be_written_is_read"],
    ),
    "a next beyond the queue or the table": (
        [f"{BROKEN_CHAIN}[a next beyond the queue]", f"{BROKEN_CHAIN}[a next beyond the table]"],
        [f"{BROKEN_GUEST}[a next beyond the queue]", f"{TABLE_GUEST}[a next beyond the table]"],
    ),
    "a descriptor is read twice, and changed in between": (
        [f"{WALKER}::test_a_descriptor_is_read_once"],
        [f"{HOSTILE}::test_a_descriptor_that_changes_meanwhile_harms_nobody"],
    ),
    "requests in flight reach the memory of a guest that was reset": (
        [
            DEVICES + "test_common.py::test_what_was_asked_before_a_reset_is_not_answered_after",
            DEVICES + "test_datapath.py::test_nothing_is_written_after_a_reset",
            DEVICES + "test_blk.py::test_nothing_reaches_the_guest_or_the_disk_after_a_reset",
            DEVICES + "test_net.py::test_nothing_is_written_after_a_reset",
        ],
        [f"{HOSTILE}::test_what_is_asked_before_a_reset_is_not_answered_after"],
    ),
    "indices are not zeroed at a reset": (
        [DEVICES + "test_common.py::test_a_reset_device_is_as_it_was"],
        [BROKEN_GUEST],
    ),
    "a worker waits for a notification that came before it was restored": (
        [
            DEVICES + "test_common.py::test_a_saved_device_serves_what_was_left_to_serve",
            DEVICES + "test_datapath.py::test_a_saved_device_goes_on_elsewhere",
        ],
        "no command restores a machine",
    ),
    "the generation of the configuration never changes": (
        [DEVICES + "test_common.py::test_a_changed_configuration_has_another_generation_and_interrupts_a_driver"],
        [DEVICES + "test_net_guests.py::test_a_peer_that_announces_too_much_is_given_up"],
    ),
    "an interrupt for the configuration though it did not change": (
        [DEVICES + "test_common.py::test_a_changed_configuration_has_another_generation_and_interrupts_a_driver"],
        [f"{HOSTILE}::test_there_is_no_interrupt_for_a_configuration_that_does_not_change"],
    ),
    "reads over the end of the configuration": (
        [DEVICES + "test_common.py::test_configuration_is_read_by_bytes_and_is_zero_beyond_its_end"],
        [f"{HOSTILE}::test_a_read_over_the_end_of_the_configuration_has_zeros"],
    ),
    "the driver is taken to have accepted all that was offered": (
        [
            f"{WALKER}::test_a_table_that_was_not_negotiated",
            DEVICES + "test_net.py::test_what_was_not_negotiated_is_dropped",
        ],
        [f"{BROKEN_GUEST}[an indirect table without the feature]"],
    ),
    "features that were not offered are accepted": (
        [DEVICES + "test_common.py::test_only_what_was_offered_is_accepted"],
        [f"{HOSTILE}::test_features_that_were_not_offered_are_refused"],
    ),
    "a read-only disk is written where RO was not negotiated": (
        [DEVICES + "test_blk.py::test_a_disk_is_read_only_whether_the_driver_has_accepted_that_or_not"],
        [DEVICES + "test_blk_guests.py::test_a_disk_is_read_only_without_the_drivers_consent"],
    ),
    "a sector is not compared with the capacity": (
        [DEVICES + "test_blk.py::test_what_the_disk_does_not_have_is_an_error"],
        [DEVICES + "test_blk_guests.py::test_a_hostile_request_gets_an_error_and_changes_nothing"],
    ),
    "discards and zeroes wrap": (
        [DEVICES + "test_blk.py::test_ranges_that_are_wrong_change_nothing"],
        [DEVICES + "test_blk_guests.py::test_a_hostile_request_gets_an_error_and_changes_nothing"],
    ),
    "a disk's status is missing or cannot be written": (
        [DEVICES + "test_blk.py::test_a_chain_that_is_no_request_stops_the_device_until_a_reset"],
        [DEVICES + "test_blk_guests.py::test_what_is_no_request_stops_the_disk_until_a_reset"],
    ),
    "a malformed header or descriptor ends a network's thread": (
        [DEVICES + "test_net.py::test_a_malformed_header_costs_its_frame_alone"],
        [
            DEVICES + "test_net_guests.py::test_what_is_no_frame_is_dropped_and_the_next_one_goes",
            DEVICES + "test_net_guests.py::test_a_broken_queue_stops_the_device_until_a_reset",
        ],
    ),
    "a number of an MSI-X vector is out of range": (
        [DEVICES + "test_pci.py::test_a_vector_that_there_is_not_is_refused"],
        ["devices/pci/test_guests.py::test_a_vector_that_the_table_does_not_have_is_none"],
    ),
    "the last text is lost where the machine ends first": (
        ["machine/test_bus.py::test_the_end_of_a_run_serves_what_drivers_have_told_of"],
        [f"{GUESTS}::test_a_guest_prints_and_ends_at_once"],
    ),
    "a fragment breaks the memory of a user-mode network": (
        ["backends/test_user.py::test_last_fragments_alone_are_taken"],
        "libslirp's memory is this process's: the test before ends the process if it is broken",
    ),
}


def contents(path):
    """The names of a file's tests, and all of its texts, among which are the names of cases."""
    tree = ast.parse((TESTS / "runner" / path).read_text())
    names = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    return names, {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_has_its_tests(fault):
    alone, guests = FAULTS[fault]
    assert alone
    assert guests
    for name in [*alone, *(guests if isinstance(guests, list) else ())]:
        path, _, test = name.partition("::")
        test, _, case = test.partition("[")
        names, texts = contents(path)
        assert test in names, name
        assert not case or case[:-1] in texts, name
