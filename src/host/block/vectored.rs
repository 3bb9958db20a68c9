//! Reading and writing a file from and to memory that may be guest RAM.
//!
//! This is the only place where block nodes hand addresses to the kernel.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use nix::libc;
use vm_memory::VolatileSlice;

/// What a system call takes at most (`UIO_MAXIOV`).
const MOST_PIECES: usize = 1024;

/// Fills all of `to` from the bytes at `offset`.
///
/// # Errors
/// The host fails, or the file ends before.
pub fn read_exact(file: &File, offset: u64, to: &[VolatileSlice<'_>]) -> io::Result<()> {
    transfer(offset, to, io::ErrorKind::UnexpectedEof, |pieces, at| {
        // SAFETY: the pieces are memory that stays mapped and writable as long as `to` is borrowed, and that is accessed as
        // volatile by everybody, so that the kernel may store to it.
        unsafe { libc::preadv(file.as_raw_fd(), pieces.as_ptr(), pieces.len() as libc::c_int, at) }
    })
}

/// Writes all of `from` at `offset`. `durable`: it returns when it is on the disk.
///
/// # Errors
/// The host fails; part of it may have been written.
pub fn write_all(file: &File, offset: u64, from: &[VolatileSlice<'_>], durable: bool) -> io::Result<()> {
    let write = |pieces: &[libc::iovec], at, flags| {
        // SAFETY: the pieces are memory that stays mapped as long as `from` is borrowed; the kernel only reads it.
        unsafe { libc::pwritev2(file.as_raw_fd(), pieces.as_ptr(), pieces.len() as libc::c_int, at, flags) }
    };
    if !durable {
        return transfer(offset, from, io::ErrorKind::WriteZero, |pieces, at| write(pieces, at, 0));
    }
    match transfer(offset, from, io::ErrorKind::WriteZero, |pieces, at| write(pieces, at, libc::RWF_DSYNC)) {
        // A file system that knows no flags.
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {
            transfer(offset, from, io::ErrorKind::WriteZero, |pieces, at| write(pieces, at, 0))?;
            file.sync_data()
        }
        done => done,
    }
}

/// Calls `call` with addresses and the offset in the file until everything has moved; `stuck` says that nothing does.
fn transfer(
    offset: u64,
    slices: &[VolatileSlice<'_>],
    stuck: io::ErrorKind,
    call: impl Fn(&[libc::iovec], libc::off_t) -> isize,
) -> io::Result<()> {
    let mut at = offset;
    for group in slices.chunks(MOST_PIECES) {
        // They keep the memory mapped, if that needs to be kept.
        let guards: Vec<_> = group.iter().map(VolatileSlice::ptr_guard_mut).collect();
        let mut pieces: Vec<_> = guards
            .iter()
            .map(|guard| libc::iovec { iov_base: guard.as_ptr().cast(), iov_len: guard.len() })
            .filter(|piece| piece.iov_len > 0)
            .collect();
        let mut left = &mut pieces[..];
        while !left.is_empty() {
            let position = libc::off_t::try_from(at).map_err(|_| io::ErrorKind::InvalidInput)?;
            match call(left, position) {
                0 => return Err(stuck.into()),
                moved if moved > 0 => {
                    at += moved as u64;
                    left = advance(left, moved as usize);
                }
                _ => match io::Error::last_os_error() {
                    error if error.kind() == io::ErrorKind::Interrupted => {}
                    error => return Err(error),
                },
            }
        }
    }
    Ok(())
}

/// What is left of `pieces` without the first `moved` bytes.
pub fn advance(mut pieces: &mut [libc::iovec], mut moved: usize) -> &mut [libc::iovec] {
    while let Some(first) = pieces.first_mut() {
        if moved < first.iov_len {
            first.iov_base = first.iov_base.wrapping_byte_add(moved);
            first.iov_len -= moved;
            break;
        }
        moved -= first.iov_len;
        pieces = &mut pieces[1..];
    }
    pieces
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    #[test]
    fn more_pieces_than_a_call_takes_and_empty_ones_arrive_in_order() {
        let file = tempfile::tempfile().unwrap();
        let mut data: Vec<u8> = (0..5000_u32).map(|n| n as u8).collect();
        let expected = data.clone();
        let slices: Vec<_> = data.chunks_mut(2).map(VolatileSlice::from).collect();
        write_all(&file, 7, &slices, true).unwrap();
        let mut found = [0; 5000];
        file.read_exact_at(&mut found, 7).unwrap();
        assert_eq!(found[..], expected);
        let mut read = [0; 4990];
        let (empty, rest) = read[..].split_at_mut(0);
        let (first, second) = rest.split_at_mut(4321);
        read_exact(&file, 17, &[empty.into(), first.into(), second.into()]).unwrap();
        assert_eq!(read, expected[10..]);
        let beyond = read_exact(&file, 17, &[VolatileSlice::from(&mut [0; 4991][..])]);
        assert_eq!(beyond.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
