// Option ROM that lets firmware start a Linux kernel (Documentation/arch/x86/boot.rst, "Running the kernel").
//
// It offers itself as a bootstrap entry (Plug and Play BIOS Specification 1.0A, section 3). Chosen by the firmware, it has
// fw_cfg copy the kernel's parts to the addresses that fw_cfg tells with them, and enters the real-mode part.

.section .rom, "awx"
.code16

// Items of fw_cfg.
.set KERNEL_ADDRESS, 0x07
.set KERNEL_SIZE, 0x08
.set INITRD_ADDRESS, 0x0a
.set INITRD_SIZE, 0x0b
.set KERNEL_DATA, 0x11
.set INITRD_DATA, 0x12
.set COMMAND_LINE_ADDRESS, 0x13
.set COMMAND_LINE_SIZE, 0x14
.set COMMAND_LINE_DATA, 0x15
.set SETUP_ADDRESS, 0x16
.set SETUP_SIZE, 0x17
.set SETUP_DATA, 0x18

.set DMA_PORT, 0x514
// Control field of a transfer: select the item in the upper half, and read it.
.set READ_ITEM, 0x0a
.set FAILED, 0x01

// Memory of ours, where every PC boots from: a transfer descriptor, a number, and the stack below them.
.set STACK, 0x7c00
.set DESCRIPTOR, 0x7c00
.set NUMBER, 0x7c10

header:
    .byte 0x55, 0xaa
    .byte 1                     // units of 512 bytes
    .byte 0xcb                  // initialisation: a 16-bit far return, as there is nothing to do
    .byte 0
checksum:
    .byte 0                     // makes the bytes add up to zero; filled in by build.rs
    .org header + 0x18
    .word 0                     // no PCI data structure
    .word pnp - header
    .byte 0, 0, 0, 0

pnp:
    .ascii "$PnP"
    .byte 1                     // revision
    .byte (pnp_end - pnp) / 16
    .word 0                     // no further header
    .byte 0
pnp_checksum:
    .byte 0                     // filled in by build.rs
    .long 0                     // device
    .word vendor - header
    .word product - header
    .byte 0, 0, 0               // class
    .byte 0x84                  // can be an initial program load device, read by ROM
    .word 0                     // no boot connection vector
    .word 0                     // no disconnect vector
    .word start - header        // bootstrap entry vector
    .word 0
    .word 0                     // no static resources
pnp_end:

// Copies item `data`, whose address and size are in two others.
.macro fetch address, size, data
    mov ax, \size
    call number
    mov ebx, eax
    mov ax, \address
    call number
    mov edx, eax
    mov ecx, ebx
    mov ax, \data
    call read
.endm

start:
    cli
    cld
    xor ax, ax
    mov ds, ax
    mov ss, ax
    mov sp, STACK

    fetch KERNEL_ADDRESS, KERNEL_SIZE, KERNEL_DATA
    fetch INITRD_ADDRESS, INITRD_SIZE, INITRD_DATA
    fetch COMMAND_LINE_ADDRESS, COMMAND_LINE_SIZE, COMMAND_LINE_DATA
    fetch SETUP_ADDRESS, SETUP_SIZE, SETUP_DATA

    // The real-mode part runs in its own segment, with a stack that ends where the command line begins.
    mov ax, COMMAND_LINE_ADDRESS
    call number
    mov ebx, eax
    mov ax, SETUP_ADDRESS
    call number
    sub ebx, eax
    sub ebx, 16
    shr eax, 4
    mov ds, ax
    mov es, ax
    mov fs, ax
    mov gs, ax
    mov ss, ax
    mov esp, ebx
    add ax, 0x20
    push ax
    xor ax, ax
    push ax
    .byte 0xcb                  // a 16-bit far return

// Reads the 32-bit number in item AX to EAX.
number:
    mov edx, NUMBER
    mov ecx, 4
    call read
    mov eax, [NUMBER]
    ret

// Copies ECX bytes of item AX to physical address EDX.
read:
    shl eax, 16
    mov al, READ_ITEM
    bswap eax
    bswap ecx
    bswap edx
    mov [DESCRIPTOR], eax
    mov [DESCRIPTOR + 4], ecx
    mov dword ptr [DESCRIPTOR + 8], 0
    mov [DESCRIPTOR + 12], edx
    mov dx, DMA_PORT
    xor eax, eax
    out dx, eax
    add dx, 4
    mov eax, DESCRIPTOR
    bswap eax
    out dx, eax
1:
    mov eax, [DESCRIPTOR]
    test eax, eax
    jz 2f
    bswap eax
    test al, FAILED
    jz 1b
    // There is no such memory: let the firmware boot something else.
    sti
    int 0x18
2:
    ret

vendor:
    .asciz "natoma"
product:
    .asciz "Linux kernel (-kernel)"

    .org header + 512
