//! The option ROM from which firmware starts the Linux kernel of `-kernel`. Compiled by `build.rs`, which adds the checksum.
#![no_std]
#![no_main]

core::arch::global_asm!(include_str!("linux.s"));

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    loop {}
}
