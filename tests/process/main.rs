//! The process around the machine, as its user sees it: terminal, pid file, sockets, background, exit status. Every test
//! runs the program. The guest is never started (`-S`) or is the built-in one, so no kernel is needed.

mod blockdev;
mod chardevs;
mod disks;
mod drives;
mod endings;
mod media;
mod monitor;
mod qmp;
mod terminal;
mod tools;
