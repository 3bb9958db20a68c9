//! Kernel images of all kinds: bzImage, ELF, PVH, multiboot. The end of the image is the command line as well.
#![no_main]
use libfuzzer_sys::fuzz_target;
use natoma_fuzz::kernel;

fuzz_target!(|image: &[u8]| {
    let command_line = image.rchunks(64).next().unwrap_or_default();
    let initrd = image.last().is_some_and(|last| last & 1 != 0).then_some(command_line);
    kernel::load(image, initrd, command_line);
});
