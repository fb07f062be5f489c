/* The least a VMM can do for an exit: a real-mode guest that writes AL to port 0xe9 N times, and a loop of KVM_RUN.
 * Prints the user-mode CPU time in nanoseconds an exit. */
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>

int main(int argc, char **argv)
{
    unsigned long wanted = argc > 1 ? strtoul(argv[1], NULL, 0) : 100000, exits = 0;
    int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC), vm = ioctl(kvm, KVM_CREATE_VM, 0);
    char *memory = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct kvm_userspace_memory_region region = {.memory_size = 1 << 20, .userspace_addr = (unsigned long)memory};
    static const unsigned char code[] = {0xe6, 0xe9, 0xeb, 0xfc}; /* out 0xe9, al; jmp back */
    struct kvm_sregs sregs;
    struct kvm_regs regs = {.rip = 0x1000, .rflags = 2};

    memcpy(memory + 0x1000, code, sizeof code);
    ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region);
    int vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
    struct kvm_run *run =
        mmap(NULL, (size_t)ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0), PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
    ioctl(vcpu, KVM_GET_SREGS, &sregs);
    sregs.cs.base = sregs.cs.selector = 0;
    ioctl(vcpu, KVM_SET_SREGS, &sregs);
    ioctl(vcpu, KVM_SET_REGS, &regs);
    while (exits < wanted && ioctl(vcpu, KVM_RUN, 0) == 0 && run->exit_reason == KVM_EXIT_IO)
        exits++;
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    printf("%.1f\n", (usage.ru_utime.tv_sec * 1e9 + usage.ru_utime.tv_usec * 1e3) / (double)exits);
    return exits == wanted ? 0 : 1;
}
