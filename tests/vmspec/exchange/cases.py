"""Configurations in the style of each tool's documentation, with what a spec of them has: the devices that are asked
for, and the options that have no counterpart. All files that they name exist in :func:`files`."""

# ruff: noqa: E501 - command lines are as long as they are

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from tests.vmspec.image.images import elf

DISK = bytes(1 << 20)
IMAGES = {
    "bzImage": elf(), "vmlinux": elf(), "initrd.img": b"070701" + bytes(106), "rootfs.ext4": DISK,
    "disk.img": DISK, "data.img": DISK, "a,b.img": DISK, "disk.qcow2": b"QFI\xfb" + bytes(508),
    "sub/bzImage": elf(),
}  # fmt: skip


NOTHING: Mapping[str, dict[str, object]] = MappingProxyType({})


class Case(NamedTuple):
    """``words`` are a command line or a file's text; ``devices`` kinds of device with keys that they must have, and
    ``left`` the labels of what has no counterpart."""

    text: str
    devices: Mapping[str, dict[str, object]] = NOTHING
    left: tuple[str, ...] = ()
    vm: Mapping[str, object] = NOTHING


def files(directory: Path) -> None:
    for name, content in IMAGES.items():
        path = directory / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    (directory / "folder").mkdir()


LKVM = [
    Case("lkvm run -k bzImage -d disk.img", {"virtio-blk0": {"mode": "rw"}, "virtio-net0": {}, "serial0": {}}),
    Case("lkvm run --kernel bzImage --initrd initrd.img --mem 512 --cpus 2 --name test -n mode=none",
         {"serial0": {}, "acpi0": {}}, vm={"name": "test", "memory": 512 << 20, "vcpus": 2}),
    Case("lkvm run -c4 -m1G --params 'console=ttyS0 quiet' bzImage --rng --balloon -d disk.img,ro",
         {"virtio-rng0": {}, "virtio-balloon0": {}, "virtio-blk0": {"mode": "ro"}}, vm={"memory": 1 << 30}),
    Case("./lkvm run -k bzImage -i initrd.img --console virtio --network mode=user",
         {"virtio-console0": {"input": "stdin"}, "virtio-net0": {}}),
    Case("sudo lkvm run -k bzImage -d disk.img,direct -d data.img -n mode=tap,tapif=tap0,guest_mac=02:15:15:15:15:16,script=none",
         {"virtio-blk0": {"direct": True}, "virtio-blk1": {}, "virtio-net0": {"tap": "tap0", "mac": "02:15:15:15:15:16"}}),
    Case("lkvm run -k bzImage --9p folder,share --vsock 3 -n trans=mmio,mode=user,host_ip=192.168.33.1,guest_ip=192.168.33.15",
         {"virtio-fs0": {"tag": "share"}, "virtio-vsock0": {"cid": 3}, "virtio-net0": {"transport": "mmio"}},
         ("--9p folder,share", "-n host_ip=192.168.33.1", "-n guest_ip=192.168.33.15")),
    Case("lkvm run -k bzImage -d disk.qcow2 --virtio-transport mmio --hugetlbfs /dev/hugepages --loglevel=debug --sdl",
         {"virtio-blk0": {"format": "qcow2"}}, ("--loglevel=debug", "--sdl"), {"vcpus": 1}),
    Case("lkvm run -d folder/ -k bzImage --tty 1 --debug --dev /dev/kvm --vidmode=0x312",
         {"virtio-fs0": {"tag": "/dev/root"}, "serial1": {"com": 2}},
         ("-d folder/", "--debug", "--dev /dev/kvm", "--vidmode=0x312")),
]  # fmt: skip

QEMU = [
    Case("qemu-system-x86_64 -kernel bzImage -append 'console=ttyS0' -nographic",
         {"serial0": {"input": "stdin", "output": "stdout"}, "i8042-0": {}, "rtc0": {}, "acpi0": {}},
         vm={"memory": 128 << 20, "vcpus": 1, "name": "guest"}),
    Case("""
         #!/bin/sh
         # A microvm with all its devices on virtio-mmio.
         qemu-system-x86_64 -M microvm,x-option-roms=off,pit=off,pic=off,isa-serial=on,rtc=off \\
            -enable-kvm -cpu host -m 512m -smp 2 \\
            -kernel vmlinux -append "earlyprintk=ttyS0 console=ttyS0 root=/dev/vda" \\
            -nodefaults -no-user-config -nographic -serial stdio \\
            -drive id=test,file=rootfs.ext4,format=raw,if=none -device virtio-blk-device,drive=test \\
            -netdev tap,id=tap0,script=no,downscript=no -device virtio-net-device,netdev=tap0
         """,
         {"virtio-blk0": {}, "virtio-net0": {"tap": "tap%d"}, "serial0": {}},
         ("-M x-option-roms=off", "-M pic=off"), {"memory": 512 << 20, "vcpus": 2}),
    Case("qemu-kvm -machine q35,accel=kvm -cpu host -smp cpus=4 -m 2G -kernel bzImage -initrd initrd.img "
         "-drive file=disk.qcow2,if=virtio -nic user,model=virtio-net-pci,hostfwd=tcp:127.0.0.1:2222-:22 -display none -serial mon:stdio",
         {"virtio-blk0": {"format": "qcow2"}, "virtio-net0": {"forward": ["tcp:127.0.0.1:2222:22"]}, "serial0": {}},
         vm={"vcpus": 4, "memory": 2 << 30}),
    Case("qemu-system-x86_64 -kernel bzImage -blockdev driver=file,node-name=f0,filename=disk.qcow2 "
         "-blockdev driver=qcow2,node-name=d0,file=f0 -device virtio-blk-pci,drive=d0,serial=root,num-queues=1,bootindex=1",
         {"virtio-blk0": {"format": "qcow2"}}, ("-device serial=root", "-device bootindex=1")),
    Case("qemu-system-x86_64 -kernel bzImage -blockdev qcow2,node-name=d0,file.driver=file,file.filename=disk.qcow2,"
         "file.cache.direct=on -device virtio-blk,drive=d0,write-cache=off",
         {"virtio-blk0": {"format": "qcow2", "direct": True, "cache": "writethrough"}}),
    Case("""qemu-system-x86_64 -kernel bzImage -blockdev '{"driver": "raw", "node-name": "d", "read-only": true,
         "file": {"driver": "file", "filename": "disk.img"}}' -device '{"driver": "virtio-blk-pci", "drive": "d"}'""",
         {"virtio-blk0": {"mode": "ro", "format": "raw"}}),
    Case("qemu-system-x86_64 -kernel bzImage -drive 'file=a,,b.img,format=raw,if=virtio,snapshot=on,cache=writethrough'",
         {"virtio-blk0": {"mode": "overlay", "cache": "writethrough"}}),
    Case("qemu-system-x86_64 -snapshot -kernel bzImage -drive file=disk.img,format=raw,if=virtio,cache=none,aio=native",
         {"virtio-blk0": {"mode": "overlay"}}, ("-drive aio=native",)),
    Case("qemu-system-x86_64 -kernel bzImage -hda disk.img -cdrom data.img -boot d -vga std -display gtk -usb",
         {"serial0": {}}, ("-hda disk.img", "-cdrom data.img", "-boot d", "-vga std", "-display gtk", "-usb")),
    Case("qemu-system-x86_64 -kernel bzImage -chardev stdio,id=c0,mux=on -device virtio-serial-pci -device virtconsole,chardev=c0 "
         "-chardev file,id=log,path=agent.log -device virtserialport,chardev=log,name=org.qemu.guest_agent.0 "
         "-serial none -mon chardev=c0,mode=readline",
         {"virtio-console0": {"input": "stdin", "output": "stdout"}}, ("-mon chardev=c0,mode=readline",)),
    Case("qemu-system-x86_64 -kernel bzImage -serial file:console.log -serial null -serial stdio -monitor none",
         {"serial0": {"input": "none"}, "serial1": {"com": 2, "output": "none"}, }, ("-serial stdio",)),
    Case("qemu-system-x86_64 -kernel bzImage -serial unix:/tmp/console,server=on,wait=off -qmp unix:/tmp/qmp,server -daemonize",
         {"serial0": {"input": "none", "output": "none"}},
         ("-serial unix:/tmp/console,server=on,wait=off", "-qmp unix:/tmp/qmp,server", "-daemonize")),
    Case("qemu-system-x86_64 -kernel bzImage -object rng-random,id=rng0,filename=/dev/urandom -device virtio-rng-pci,rng=rng0,"
         "max-bytes=1024,period=1000 -device virtio-balloon-pci,free-page-reporting=on -device vhost-vsock-pci,guest-cid=42",
         {"virtio-rng0": {}, "virtio-balloon0": {}, "virtio-vsock0": {"cid": 42}},
         ("-device max-bytes=1024", "-device period=1000")),
    Case("qemu-system-x86_64 -kernel bzImage -device isa-debug-exit,iobase=0xf4,iosize=0x04 -device pvpanic "
         "-debugcon file:debug.log -device i6300esb -device vmgenid,guid=auto",
         {"debug-exit0": {"port": 0xF4, "size": 4}, "pvpanic0": {}, "debug-port0": {}, "vmgenid0": {}},
         ("-device i6300esb",)),
    Case("qemu-system-x86_64 -kernel bzImage -netdev stream,id=n,server=off,addr.type=unix,addr.path=/run/passt.sock "
         "-device virtio-net-pci,netdev=n,mac=52:54:00:aa:bb:cc,host_mtu=9000",
         {"virtio-net0": {"mac": "52:54:00:aa:bb:cc", "mtu": 9000}}),
    Case("qemu-system-x86_64 -kernel bzImage -netdev tap,id=n,ifname=tap0,script=no,downscript=no,vhost=on,queues=2 "
         "-device virtio-net-pci,netdev=n,mq=on,vectors=6 -smp 2",
         {"virtio-net0": {"tap": "tap0", "queues": 2}}, ("-netdev vhost=on",)),
    Case("qemu-system-x86_64 -kernel bzImage -net nic,model=virtio -net user,restrict=on",
         {"virtio-net0": {"restrict": True}}),
    Case("qemu-system-x86_64 -kernel bzImage -device e1000,netdev=n -netdev user,id=n -nic none",
         {"serial0": {}}, ("-device e1000,netdev=n", "-netdev user,id=n")),
    Case("qemu-system-x86_64 -kernel bzImage -m size=1G,slots=2,maxmem=4G -object memory-backend-file,id=p,mem-path=data.img,"
         "size=1M,share=on -device virtio-pmem-pci,memdev=p",
         {"virtio-pmem0": {}}, ("-m slots=2", "-m maxmem=4G", "-object share=on"), {"memory": 1 << 30}),
    Case("qemu-system-x86_64 -kernel bzImage -object memory-backend-memfd,id=mem,size=256M,share=on -m 256M "
         "-machine pc,memory-backend=mem -virtfs local,path=folder,mount_tag=host0,security_model=none",
         {"virtio-fs0": {"tag": "host0"}}, ("-virtfs local,path=folder,mount_tag=host0,security_model=none: 9p",)),
    Case("qemu-system-x86_64 -kernel bzImage -rtc base=2024-02-29T12:00:00,clock=vm -no-acpi -no-hpet -pidfile vm.pid -uuid 1",
         {"rtc0": {}}, ("-rtc clock=vm", "-no-hpet", "-pidfile vm.pid", "-uuid 1")),
    Case("qemu-system-x86_64 -kernel bzImage -cpu Skylake-Client-v3,-avx2,vmx=off,+pcid -accel tcg -smp 4,maxcpus=8,cores=2 -frobnicate x",
         {"serial0": {}}, ("-cpu Skylake-Client-v3", "-accel tcg", "-smp maxcpus=8", "-smp cores=2",
                           "-frobnicate x"), {"vcpus": 4}),
    Case("qemu-system-x86_64 -kernel bzImage -cpu host,migratable=no,host-phys-bits,+svm,npt=off,tsc-deadline=on,vendor=GenuineIntel,+frobnication",
         {"serial0": {}}, ("-cpu +frobnication",)),
    Case("qemu-system-x86_64 -kernel bzImage -machine accel=kvm -M pc,hpet=on -machine hpet=off,i8042=off -m 1G -m 256M,slots=2 -smp 4 -smp 2",
         {"serial0": {}}, ("-m slots=2",), {"vcpus": 2, "memory": 256 << 20}),
    Case("""KERNEL=bzImage
         OPTS="-m 256 -smp 2"
         ip tuntap add tap0 mode tap
         qemu-system-x86_64 $OPTS -kernel "$KERNEL" -name 'my vm',debug-threads=on -device pcie-root-port,id=r 2>&1 | tee log""",
         {"serial0": {}}, ("-name debug-threads=on", "-device pcie-root-port,id=r"), {"memory": 256 << 20, "name": "my vm"}),
    Case("qemu-system-x86_64 -M microvm,rtc=on,pcie=on -kernel bzImage -device virtio-rng-pci -device virtio-rng-device -device i8042",
         {"virtio-rng0": {"transport": "pci"}, "virtio-rng1": {}, "i8042-0": {}, "rtc0": {}}),
    Case("qemu-system-x86_64 -kernel bzImage -chardev socket,id=b,path=/run/blk.sock -device vhost-user-blk-pci,chardev=b,num-queues=2 "
         "-chardev socket,id=f,path=/run/fs.sock -device vhost-user-fs-pci,chardev=f,tag=share -smp 2",
         {"vhost-user0": {"virtio-id": 2, "queues": 2}},
         ("-device vhost-user-fs-pci,chardev=f,tag=share", "-chardev socket,id=f,path=/run/fs.sock")),
]  # fmt: skip

FIRECRACKER = [
    Case("""
         {
           "boot-source": {"kernel_image_path": "vmlinux", "boot_args": "console=ttyS0 reboot=k panic=1 pci=off"},
           "drives": [{"drive_id": "rootfs", "path_on_host": "rootfs.ext4", "is_root_device": true, "is_read_only": false}],
           "machine-config": {"vcpu_count": 2, "mem_size_mib": 1024},
           "network-interfaces": [{"iface_id": "eth0", "guest_mac": "06:00:AC:10:00:02", "host_dev_name": "tap0"}]
         }
         """,
         {"virtio-blk0": {"mode": "rw"}, "virtio-net0": {"tap": "tap0", "mac": "06:00:ac:10:00:02"}, "serial0": {"input": "stdin"}},
         vm={"vcpus": 2, "memory": 1 << 30}),
    Case("""
         {"boot-source": {"kernel_image_path": "vmlinux", "initrd_path": "initrd.img", "boot_args": null},
          "drives": [{"drive_id": "data", "path_on_host": "data.img", "is_root_device": false, "partuuid": null, "is_read_only": false,
                      "cache_type": "Unsafe", "io_engine": "Async",
                      "rate_limiter": {"bandwidth": {"size": 1000, "refill_time": 100}}},
                     {"drive_id": "root", "path_on_host": "rootfs.ext4", "is_root_device": true, "is_read_only": true}],
          "machine-config": {"vcpu_count": 1, "mem_size_mib": 128, "smt": false, "track_dirty_pages": false, "huge_pages": "None"},
          "balloon": {"amount_mib": 16, "deflate_on_oom": true, "stats_polling_interval_s": 1},
          "vsock": {"guest_cid": 3, "uds_path": "v.sock"}, "entropy": {},
          "logger": {"log_path": "logs", "level": "Info"}, "metrics": {"metrics_path": "m"},
          "mmds-config": {"network_interfaces": ["eth0"], "version": "V2"}}
         """,
         {"virtio-blk0": {"mode": "ro"}, "virtio-blk1": {"mode": "rw"}, "virtio-balloon0": {"size": 16 << 20},
          "virtio-vsock0": {"cid": 3}, "virtio-rng0": {}},
         ("drives[0].partuuid: null", 'drives[0].io_engine: "Async"', "drives[0].rate_limiter: {…", "balloon.deflate_on_oom: true",
          "balloon.stats_polling_interval_s: 1", "logger: {…", "metrics: {…", "mmds-config: {…")),
    Case("""
         {"boot-source": {"kernel_image_path": "vmlinux"},
          "pmem": [{"id": "p0", "path_on_host": "rootfs.ext4", "root_device": true, "read_only": true}],
          "drives": [], "machine-config": {"vcpu_count": 4, "mem_size_mib": 512, "huge_pages": "2M", "cpu_template": "T2"},
          "network-interfaces": [{"iface_id": "eth0", "host_dev_name": "tap1", "mtu": 1400}],
          "serial": {"serial_out_path": "console.log"}, "cpu-config": null, "memory-hotplug": null}
         """,
         {"virtio-pmem0": {}, "virtio-net0": {"tap": "tap1", "mtu": 1400}},
         ('machine-config.cpu_template: "T2"', "cpu-config: null", "memory-hotplug: null"), {"vcpus": 4}),
    Case("""
         {"boot-source": {"kernel_image_path": "vmlinux", "boot_args": "console=ttyS0"},
          "drives": [{"drive_id": "v", "is_root_device": true, "partuuid": "0eaa91a0-01", "socket": "v.sock", "cache_type": "Writeback"}],
          "machine-config": {"vcpu_count": 1, "mem_size_mib": 256}}
         """,
         {"vhost-user0": {"virtio-id": 2}}, ()),
]  # fmt: skip

CLOUD_HYPERVISOR = [
    Case("cloud-hypervisor --kernel vmlinux --disk path=rootfs.ext4 --cmdline 'console=hvc0 root=/dev/vda rw' --cpus boot=4 "
         "--memory size=1024M --net tap=,mac=12:34:56:78:90:ab,ip=,mask=",
         {"virtio-blk0": {}, "virtio-console0": {"input": "stdin"}, "serial0": {"output": "none"}, "virtio-rng0": {},
          "virtio-net0": {"tap": "tap%d", "mac": "12:34:56:78:90:ab"}},
         ("--net ip=", "--net mask="), {"vcpus": 4, "memory": 1 << 30}),
    Case("""
         ./cloud-hypervisor \\
            --kernel vmlinux --initramfs initrd.img --cmdline "console=ttyS0" \\
            --serial tty --console off \\
            --disk path=disk.img,readonly=on,direct=on,num_queues=2 path=disk.qcow2,image_type=qcow2 \\
            --cpus boot=2,max=4,topology=1:2:1:1 --memory size=512M,shared=on,prefault=on \\
            --vsock cid=3,socket=ch.sock --balloon size=64M,deflate_on_oom=on --pmem file=data.img,discard_writes=on \\
            --api-socket /tmp/ch.sock -v
         """,
         {"serial0": {"input": "stdin"}, "virtio-blk0": {"mode": "ro", "direct": True, "queues": 2},
          "virtio-blk1": {"format": "qcow2"}, "virtio-vsock0": {"cid": 3}, "virtio-pmem0": {}},
         ("--cpus max=4", "--cpus topology=1:2:1:1", "--balloon deflate_on_oom=on", "--api-socket /tmp/ch.sock", "-v")),
    Case("""
         {"cpus": {"boot_vcpus": 2, "max_vcpus": 2}, "memory": {"size": 1073741824, "thp": false, "mergeable": false},
          "payload": {"kernel": "vmlinux", "cmdline": "console=hvc0 root=/dev/vda1", "firmware": null},
          "disks": [{"path": "disk.img", "readonly": false, "serial": "root", "pci_segment": 0}],
          "net": [{"tap": "tap0", "mac": "2e:89:a8:e4:92:a8", "num_queues": 4, "mtu": 1500}],
          "rng": {"src": "/dev/urandom", "iommu": false},
          "serial": {"mode": "File", "file": "serial.log"}, "console": {"mode": "Tty"},
          "fs": [{"tag": "share", "socket": "fs.sock", "num_queues": 1, "queue_size": 1024}],
          "watchdog": true, "devices": [{"path": "/sys/bus/pci/devices/0000:01:00.0"}]}
         """,
         {"virtio-blk0": {"serial": "root"}, "virtio-net0": {"tap": "tap0", "queues": 2, "mtu": 1500},
          "serial0": {"input": "none"}, "virtio-console0": {"output": "stdout"}},
         ("payload.firmware: null", "disks[0].pci_segment: 0", "rng.iommu: false", "fs[0]: {…",
         "watchdog: true", "devices[0]: {…"), {"vcpus": 2, "memory": 1 << 30}),
]  # fmt: skip

LIBVIRT = [
    Case("""
         <domain type='kvm'>
           <name>demo</name>
           <uuid>4dea22b3-1d52-d8f3-2516-782e98ab3fa0</uuid>
           <genid>43dc0cf8-809b-4adb-9bea-a9abb5f3d90e</genid>
           <memory unit='MiB'>512</memory>
           <currentMemory unit='MiB'>512</currentMemory>
           <vcpu placement='static'>2</vcpu>
           <os>
             <type arch='x86_64' machine='q35'>hvm</type>
             <kernel>bzImage</kernel>
             <initrd>initrd.img</initrd>
             <cmdline>console=ttyS0 root=/dev/vda</cmdline>
           </os>
           <features><acpi/><apic/></features>
           <cpu mode='host-passthrough' check='none'><feature policy='disable' name='avx'/></cpu>
           <clock offset='utc'/>
           <on_reboot>restart</on_reboot>
           <devices>
             <emulator>/usr/bin/qemu-system-x86_64</emulator>
             <disk type='file' device='disk'>
               <driver name='qemu' type='qcow2' cache='none' io='native'/>
               <source file='disk.qcow2'/>
               <target dev='vda' bus='virtio'/>
               <address type='pci' domain='0x0000' bus='0x04' slot='0x00' function='0x0'/>
             </disk>
             <interface type='network'>
               <mac address='52:54:00:6b:3c:58'/>
               <source network='default'/>
               <model type='virtio'/>
             </interface>
             <serial type='pty'><target type='isa-serial' port='0'><model name='isa-serial'/></target></serial>
             <console type='pty'><target type='serial' port='0'/></console>
             <memballoon model='virtio'/>
             <rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>
             <graphics type='vnc' port='-1'/>
           </devices>
         </domain>
         """,
         {"virtio-blk0": {"format": "qcow2", "direct": True}, "virtio-net0": {"mac": "52:54:00:6b:3c:58", "tap": "tap%d"},
          "serial0": {"input": "stdin"}, "virtio-balloon0": {}, "virtio-rng0": {}, "acpi0": {},
          "vmgenid0": {}},
         ("<uuid>4dea22b3-1d52-d8f3-2516-782e98ab3fa0", "<genid>43dc0cf8-809b-4adb-9bea-a9abb5f3d90e", "<on_reboot>restart", "<emulator>/usr/bin/qemu-system-x86_64",
          '<driver io="native">', '<address type="pci" domain="0x0000" bus="0x04" slot="0x00" function="0x0">',
          '<source network="default">', '<graphics type="vnc" port="-1">'),
         {"name": "demo", "vcpus": 2, "memory": 512 << 20}),
    Case("""
         <domain type='kvm'>
           <name>micro</name><genid/><memory>262144</memory><vcpu>1</vcpu>
           <os><type arch='x86_64' machine='microvm'>hvm</type><kernel>vmlinux</kernel></os>
           <features><acpi/></features>
           <memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>
           <devices>
             <disk type='block' device='disk'><source dev='disk.img'/><target dev='vda' bus='virtio'/><readonly/><serial>x1</serial>
               <address type='virtio-mmio'/></disk>
             <interface type='user'><model type='virtio'/><backend type='passt'/>
               <portForward proto='tcp' address='127.0.0.1'><range start='2222' to='22'/></portForward></interface>
             <filesystem type='mount' accessmode='passthrough'><driver type='virtiofs'/><source dir='folder'/><target dir='share'/></filesystem>
             <vsock model='virtio'><cid auto='no' address='42'/></vsock>
             <console type='stdio'><target type='virtio' port='0'/></console>
             <channel type='unix'><source mode='bind' path='/run/agent'/><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
             <panic model='isa'><address type='isa' iobase='0x505'/></panic>
             <memballoon model='none'/>
           </devices>
         </domain>
         """,
         {"virtio-blk0": {"mode": "ro", "serial": "x1"}, "virtio-net0": {"forward": ["tcp:127.0.0.1:2222:22"]},
          "virtio-fs0": {"tag": "share"}, "virtio-vsock0": {"cid": 42}, "virtio-console0": {"input": "stdin"}, "pvpanic0": {},
          "vmgenid0": {}},
         ('<source mode="bind" path="/run/agent">',), {"memory": 256 << 20}),
    Case("""
         <domain type='qemu'>
           <name>old</name><memory unit='GiB'>1</memory>
           <os><type arch='x86_64' machine='pc'>hvm</type><kernel>bzImage</kernel><boot dev='hd'/></os>
           <devices>
             <disk type='file' device='cdrom'><source file='data.img'/><target dev='hda' bus='ide'/></disk>
             <interface type='bridge'><source bridge='br0'/><model type='e1000'/></interface>
             <interface type='ethernet'><target dev='tap0' managed='no'/><model type='virtio'/><mtu size='1400'/></interface>
             <serial type='file'><source path='console.log'/></serial>
             <hostdev mode='subsystem' type='pci'/>
           </devices>
         </domain>
         """,
         {"virtio-net0": {"tap": "tap0", "mtu": 1400}, "serial0": {"input": "none"}},
         ('<domain type="qemu">', '<boot dev="hd">', '<disk type="file" device="cdrom">', '<interface type="bridge">',
          '<hostdev mode="subsystem" type="pci">'), {"memory": 1 << 30}),
]  # fmt: skip

CASES = {
    "cloud-hypervisor": CLOUD_HYPERVISOR, "firecracker": FIRECRACKER, "libvirt": LIBVIRT, "lkvm": LKVM, "qemu": QEMU,
}  # fmt: skip
