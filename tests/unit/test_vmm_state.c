/* SPDX-License-Identifier: Apache-2.0 */
/* test_vmm_state.c - saved machines, and the end of one: what comes back, in which order, what is refused, and what is heard last
 */
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "fake_kvm.h"
#include "machine_fixture.h"
#include "vmm/kvm/x86_64/layout.h"

/* Of a made-up processor. */
enum { MSR_COUNTER = 0x10, MSR_DEADLINE = 0x6e0, MSR_FIXED = 0x8b, MSR_HIDDEN = 0x3a, MSR_TYPES = 0x2ff };

static const struct fake_msr msrs[FAKE_MSRS] = {
    {MSR_COUNTER, 1000, true, true, true}, {MSR_FIXED, 42, true, true, false}, {MSR_HIDDEN, 7, true, false, false},
    {MSR_DEADLINE, 0, true, true, true},   {MSR_TYPES, 0, false, true, true},
};

/* fill() - A structure of bytes that tell which it is. */
static void fill(int fd, unsigned long get, uint32_t chip, size_t length, uint8_t seed)
{
    uint8_t bytes[sizeof(struct kvm_xsave)];

    for (size_t i = 0; i < length; i++)
        bytes[i] = (uint8_t)(seed * 31 + i);
    if (get == KVM_GET_IRQCHIP)
        memcpy(bytes, &chip, sizeof chip);
    fake_kvm_put(fd, get, chip, bytes, length);
}

/* live() - Give a machine something to remember. */
static void live(struct bl_machine *machine)
{
    static const struct kvm_clock_data clock = {.clock = 123456789, .flags = KVM_CLOCK_TSC_STABLE, .host_tsc = 99};

    for (unsigned int cpu = 0; cpu < machine->cpu_count; cpu++) {
        for (size_t i = 0; i < FAKE_CPU_PARTS; i++)
            fill(machine->cpus[cpu].fd, fake_parts[i].get, 0, fake_parts[i].bytes, (uint8_t)(1 + cpu * FAKE_CPU_PARTS + i));
        fake_kvm_put_msr(machine->cpus[cpu].fd, MSR_COUNTER, 5000 + cpu);
        fake_kvm_put_msr(machine->cpus[cpu].fd, MSR_DEADLINE, 6000 + cpu);
        fake_kvm_put_msr(machine->cpus[cpu].fd, MSR_TYPES, 0xc06);
    }
    for (uint32_t chip = 0; chip < 3; chip++)
        fill(machine->vm_fd, KVM_GET_IRQCHIP, chip, sizeof(struct kvm_irqchip), (uint8_t)(200 + chip));
    fake_kvm_put(machine->vm_fd, KVM_GET_CLOCK, 0, &clock, sizeof clock);
}

/* Two machines of a kind: one that lives, and one that goes on from what was saved of it. */
struct pair {
    struct machine_fixture one, other;
};

static void pair_init(struct pair *pair, unsigned int cpus)
{
    fake_kvm_reset(msrs);
    machine_fixture_init(&pair->one, cpus);
    machine_fixture_init(&pair->other, cpus);
    live(&pair->one.machine);
}

static void pair_finish(struct pair *pair)
{
    machine_fixture_finish(&pair->one);
    machine_fixture_finish(&pair->other);
}

/* save() - Return: a file that stands at the beginning of the state */
static int save(struct bl_machine *machine)
{
    struct bl_error err = BL_ERROR_INIT;
    int fd = memfd_create("state", MFD_CLOEXEC);

    if (bl_machine_save(machine, fd, &err) < 0)
        fail_msg("%s", err.message);
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    return fd;
}

static size_t place_of(unsigned long call, size_t from)
{
    for (size_t i = from; i < fake_kvm.call_count; i++)
        if (fake_kvm.calls[i] == call)
            return i;
    fail_msg("%#lx was never set", call);
    return 0;
}

static void what_is_saved_comes_back(void **state)
{
    struct bl_error err = BL_ERROR_INIT;
    struct pair pair;
    uint8_t before[16], after[16];
    const struct kvm_clock_data *clock;

    (void)state;
    pair_init(&pair, 2);

    cleanup_close int fd = save(&pair.one.machine);

    assert_int_equal(bl_memory_read(&pair.other.machine.memory, X86_GENERATION, before, sizeof before), 0);
    fake_kvm.call_count = 0;
    if (bl_machine_load(&pair.other.machine, fd, &err) < 0)
        fail_msg("%s", err.message);
    for (unsigned int cpu = 0; cpu < 2; cpu++) {
        int from = pair.one.machine.cpus[cpu].fd, to = pair.other.machine.cpus[cpu].fd;

        for (size_t i = 0; i < FAKE_CPU_PARTS; i++)
            assert_memory_equal(fake_kvm_get(from, fake_parts[i].get, 0), fake_kvm_get(to, fake_parts[i].get, 0),
                                fake_parts[i].bytes);
        assert_int_equal(fake_kvm_msr(to, MSR_COUNTER), 5000 + cpu);
        assert_int_equal(fake_kvm_msr(to, MSR_DEADLINE), 6000 + cpu);
        assert_int_equal(fake_kvm_msr(to, MSR_TYPES), 0xc06); /* which KVM does not list */
        assert_int_equal(fake_kvm_msr(to, MSR_FIXED), 42);    /* which can't be set, and need not be */
    }
    for (uint32_t chip = 0; chip < 3; chip++)
        assert_memory_equal(fake_kvm_get(pair.one.machine.vm_fd, KVM_GET_IRQCHIP, chip),
                            fake_kvm_get(pair.other.machine.vm_fd, KVM_GET_IRQCHIP, chip), sizeof(struct kvm_irqchip));
    clock = fake_kvm_get(pair.other.machine.vm_fd, KVM_GET_CLOCK, 0);
    assert_int_equal(clock->clock, 123456789);
    assert_int_equal(clock->flags, 0); /* what it says of the host is not given back */
    assert_int_equal(clock->host_tsc, 0);
    /* It has an identifier of its own. */
    assert_int_equal(bl_memory_read(&pair.other.machine.memory, X86_GENERATION, after, sizeof after), 0);
    assert_memory_not_equal(before, after, sizeof after);
    pair_finish(&pair);
}

static void it_comes_back_in_an_order_that_kvm_takes(void **state)
{
    struct bl_error err = BL_ERROR_INIT;
    struct pair pair;
    size_t before, msr;

    (void)state;
    pair_init(&pair, 1);

    cleanup_close int fd = save(&pair.one.machine);

    fake_kvm.call_count = 0;
    assert_int_equal(bl_machine_load(&pair.other.machine, fd, &err), 0);
    before = place_of(KVM_SET_MP_STATE, 0);
    assert_int_equal(before, 0);
    assert_true(place_of(KVM_SET_SREGS, 0) < place_of(KVM_SET_LAPIC, 0));
    assert_true(place_of(KVM_SET_LAPIC, 0) < place_of(MSR_DEADLINE, 0));
    assert_true(place_of(MSR_COUNTER, 0) < place_of(MSR_DEADLINE, 0));
    /* Twice, or old kernels would keep what a fresh processor counts. */
    assert_true(place_of(MSR_COUNTER, place_of(MSR_COUNTER, 0) + 1) < place_of(MSR_DEADLINE, 0));
    msr = place_of(MSR_TYPES, 0);
    assert_true(msr < place_of(KVM_SET_VCPU_EVENTS, 0));
    assert_true(place_of(KVM_SET_VCPU_EVENTS, 0) < place_of(KVM_SET_IRQCHIP, 0));
    pair_finish(&pair);
}

/* The others have to agree with the first, which they do within a second. */
static void only_the_first_counter_is_moved_away(void **state)
{
    struct bl_error err = BL_ERROR_INIT;
    struct pair pair;
    size_t sets = 0;

    (void)state;
    pair_init(&pair, 3);

    cleanup_close int fd = save(&pair.one.machine);

    fake_kvm.call_count = 0;
    assert_int_equal(bl_machine_load(&pair.other.machine, fd, &err), 0);
    for (size_t i = 0; i < fake_kvm.call_count; i++)
        sets += fake_kvm.calls[i] == MSR_COUNTER;
    assert_int_equal(sets, 4);
    pair_finish(&pair);
}

/* restored_deadline() - Of a processor whose timer is in a mode, with a deadline. */
static uint64_t restored_deadline(uint32_t timer, uint64_t deadline)
{
    struct bl_error err = BL_ERROR_INIT;
    struct pair pair;
    struct kvm_lapic_state apic = {0};
    uint64_t restored;

    pair_init(&pair, 1);
    memcpy(apic.regs + 0x320, &timer, sizeof timer);
    fake_kvm_put(pair.one.machine.cpus[0].fd, KVM_GET_LAPIC, 0, &apic, sizeof apic);
    fake_kvm_put_msr(pair.one.machine.cpus[0].fd, MSR_DEADLINE, deadline);

    cleanup_close int fd = save(&pair.one.machine);

    assert_int_equal(bl_machine_load(&pair.other.machine, fd, &err), 0);
    restored = fake_kvm_msr(pair.other.machine.cpus[0].fd, MSR_DEADLINE);
    pair_finish(&pair);
    return restored;
}

static void a_deadline_that_has_passed_is_now(void **state)
{
    (void)state;
    assert_int_equal(restored_deadline(2u << 17 | 0xec, 0), 5000); /* its interrupt may wait where nobody sees it */
    assert_int_equal(restored_deadline(2u << 17 | 0xec, 6000), 6000);
    assert_int_equal(restored_deadline(1u << 17 | 0xec, 0), 0); /* a timer that counts has none */
}

/* refuses() - Load a state into a fresh machine, in which it must not be taken. */
static void refuses(const uint8_t *bytes, size_t length, unsigned int cpus, const char *says)
{
    struct bl_error err = BL_ERROR_INIT;
    struct machine_fixture fixture;
    cleanup_close int fd = memfd_create("state", MFD_CLOEXEC);

    machine_fixture_init(&fixture, cpus);
    assert_int_equal(write(fd, bytes, length), length);
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    assert_int_equal(bl_machine_load(&fixture.machine, fd, &err), -1);
    if (says && !strstr(err.message, says))
        fail_msg("it says: %s", err.message);
    assert_true(err.code != BL_OK && err.message[0]);
    machine_fixture_finish(&fixture);
}

static void what_makes_no_sense_is_refused(void **state)
{
    struct machine_fixture one;
    uint8_t *bytes;
    size_t length;

    (void)state;
    fake_kvm_reset(msrs);
    machine_fixture_init(&one, 1);
    live(&one.machine);

    cleanup_close int fd = save(&one.machine);

    length = (size_t)lseek(fd, 0, SEEK_END);
    bytes = calloc(1, length + 1);
    assert_int_equal(pread(fd, bytes, length, 0), length);
    machine_fixture_finish(&one);

    for (size_t cut = 0; cut < length; cut += 1 + cut / 16)
        refuses(bytes, cut, 1, NULL);
    refuses(bytes, length, 2, "the saved machine has 1 processors");
    /* Magic, version, length, processors, memory. */
    for (size_t at = 0; at < 16 + 12; at++) {
        bytes[at] ^= 0x20;
        refuses(bytes, length, 1, NULL);
        bytes[at] ^= 0x20;
    }
    /* The length says how much there is: shorter cuts the machine, longer leaves something over. */
    bytes[12]--;
    refuses(bytes, length, 1, NULL);
    bytes[12] += 2;
    refuses(bytes, length + 1, 1, "1 bytes too many");
    bytes[12]--;

    fake_kvm.fails = KVM_SET_SREGS;
    refuses(bytes, length, 1, "KVM_SET_SREGS");
    fake_kvm.fails = KVM_SET_IRQCHIP;
    refuses(bytes, length, 1, "KVM_SET_IRQCHIP");
    fake_kvm.fails = KVM_SET_CLOCK;
    refuses(bytes, length, 1, "KVM_SET_CLOCK");
    fake_kvm.fails = 0;
    free(bytes);
}

static void an_msr_that_can_not_be_set_is_named(void **state)
{
    struct bl_error err = BL_ERROR_INIT;
    struct pair pair;

    (void)state;
    pair_init(&pair, 1);
    fake_kvm_put_msr(pair.one.machine.cpus[0].fd, MSR_FIXED, 43); /* of another processor */

    cleanup_close int fd = save(&pair.one.machine);

    assert_int_equal(bl_machine_load(&pair.other.machine, fd, &err), -1);
    assert_non_null(strstr(err.message, "processor 0: KVM_SET_MSRS: 0x8b can't be 0x2b"));
    pair_finish(&pair);
}

static void what_can_not_be_read_is_not_saved(void **state)
{
    static const unsigned long requests[] = {KVM_GET_MP_STATE, KVM_GET_XSAVE, KVM_GET_LAPIC,         KVM_GET_VCPU_EVENTS,
                                             KVM_GET_IRQCHIP,  KVM_GET_CLOCK, KVM_GET_MSR_INDEX_LIST};
    struct machine_fixture one;

    (void)state;
    fake_kvm_reset(msrs);
    machine_fixture_init(&one, 1);
    for (size_t i = 0; i < sizeof requests / sizeof *requests; i++) {
        struct bl_error err = BL_ERROR_INIT;
        cleanup_close int fd = memfd_create("state", MFD_CLOEXEC);

        fake_kvm.fails = requests[i];
        assert_int_equal(bl_machine_save(&one.machine, fd, &err), -1);
        assert_non_null(strstr(err.message, "KVM_GET_"));
        assert_int_equal(lseek(fd, 0, SEEK_CUR), 0);
    }
    fake_kvm.fails = 0;
    machine_fixture_finish(&one);
}

static void put(struct bl_machine *machine, uint32_t reg, uint32_t value)
{
    bl_devices_access(machine, bl_arch_slot_address(0) + reg, &value, sizeof value, true);
}

/* Processors stand, and nobody has looked at the queue since the guest wrote to it. */
static void what_the_guest_said_last_is_heard(void **state)
{
    enum { RING = 0x10000, TEXT = 0x20000, TRANSMIT = 1 };
    const struct vring_desc text = {.addr = TEXT, .len = 5};
    const uint16_t available[] = {0, 1, 0}; /* flags, index, the first entry */
    const uint32_t ready = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK;
    struct machine_fixture fixture;
    struct bl_machine *machine = &fixture.machine;
    char heard[16] = "";

    (void)state;
    fake_kvm_reset(msrs);
    machine_fixture_init(&fixture, 1);
    put(machine, VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
    put(machine, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
    put(machine, VIRTIO_MMIO_DRIVER_FEATURES, 1); /* VERSION_1 */
    put(machine, VIRTIO_MMIO_STATUS, ready);
    put(machine, VIRTIO_MMIO_QUEUE_SEL, TRANSMIT);
    put(machine, VIRTIO_MMIO_QUEUE_NUM, 16);
    put(machine, VIRTIO_MMIO_QUEUE_DESC_LOW, RING);
    put(machine, VIRTIO_MMIO_QUEUE_AVAIL_LOW, RING + 0x400);
    put(machine, VIRTIO_MMIO_QUEUE_USED_LOW, RING + 0x800);
    put(machine, VIRTIO_MMIO_QUEUE_READY, 1);
    put(machine, VIRTIO_MMIO_STATUS, ready | VIRTIO_CONFIG_S_DRIVER_OK);
    assert_int_equal(bl_memory_write(&machine->memory, TEXT, "panic", 5), 0);
    assert_int_equal(bl_memory_write(&machine->memory, RING, &text, sizeof text), 0);
    assert_int_equal(bl_memory_write(&machine->memory, RING + 0x400, available, sizeof available), 0);
    bl_devices_finish(machine);
    assert_int_equal(read(fixture.console_fd, heard, sizeof heard), 5);
    assert_string_equal(heard, "panic");
    machine_fixture_finish(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_saved_comes_back),
        cmocka_unit_test(it_comes_back_in_an_order_that_kvm_takes),
        cmocka_unit_test(only_the_first_counter_is_moved_away),
        cmocka_unit_test(a_deadline_that_has_passed_is_now),
        cmocka_unit_test(what_makes_no_sense_is_refused),
        cmocka_unit_test(an_msr_that_can_not_be_set_is_named),
        cmocka_unit_test(what_can_not_be_read_is_not_saved),
        cmocka_unit_test(what_the_guest_said_last_is_heard),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
