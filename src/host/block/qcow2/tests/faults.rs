//! Every single access to the file of an image fails once, and what failed is made again, as `werror=stop` has it: nothing is lost,
//! and the image is sound.

use std::mem::{Discriminant, discriminant};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};

use proptest::prelude::Rng;

use super::super::super::filter::Filter;
use super::super::super::node::{RawAccess, part};
use super::*;

/// A file of which one access fails.
struct Faulty {
    file: Arc<Memory>,
    /// Accesses until then, that one included.
    left: AtomicUsize,
    /// How it fails.
    fault: Fault,
}

type Fault = fn() -> BlockError;

const FAULTS: [Fault; 3] = [
    || BlockError::NoSpace,
    || io::Error::from_raw_os_error(libc::EIO).into(),
    || BlockError::GivenUp(io::ErrorKind::NotConnected.into()),
];

impl Faulty {
    fn access(&self) -> Result<(), BlockError> {
        if self.left.fetch_sub(1, Ordering::Relaxed) != 1 {
            return Ok(());
        }
        Err((self.fault)())
    }
}

impl Node for Faulty {
    fn len(&self) -> u64 {
        self.file.len()
    }

    fn is_read_only(&self) -> bool {
        false
    }

    fn read(&self, offset: u64, to: &[VolatileSlice<'_>]) -> Result<(), BlockError> {
        self.access()?;
        self.file.read(offset, to)
    }

    /// A write that fails has been done by half.
    fn write(&self, offset: u64, from: &[VolatileSlice<'_>], durable: bool) -> Result<(), BlockError> {
        let done = self.access();
        if done.is_err() {
            let half = total_len(from) / 2;
            self.file.write(offset, &part(from, 0, half), false)?;
            return done;
        }
        self.file.write(offset, from, durable)
    }

    fn flush(&self) -> Result<(), BlockError> {
        self.access()?;
        self.file.flush()
    }

    fn resize(&self, len: u64) -> Result<(), BlockError> {
        self.access()?;
        self.file.resize(len)
    }
}

/// Makes a request until it is done. The error is the one of the file.
fn again(what: &str, kind: Discriminant<BlockError>, mut request: impl FnMut() -> Result<(), BlockError>) {
    let failed = request().err();
    let Some(first) = failed else { return };
    assert_eq!(discriminant(&first), kind, "{what}: {first:?}");
    request().unwrap_or_else(|error| panic!("{what}: {error:?} after {first:?}"));
}

/// Requests of all kinds, always the same. Gives what the image has then.
fn use_image(image: &Qcow2, mut expected: Vec<u8>, what: &str, kind: Discriminant<BlockError>) -> Vec<u8> {
    let mut random = random();
    let len = expected.len() as u64;
    for round in 0..40_u64 {
        let offset = random.next_u64() % len / 512 * 512;
        let size = (512 + random.next_u64() % 40_000 / 512 * 512).min(len - offset);
        let range = offset as usize..(offset + size) as usize;
        match round % 8 {
            3 => again(what, kind, || image.flush()),
            6 => {
                again(what, kind, || image.write_zeroes(offset, size, round % 16 == 6));
                expected[range].fill(0);
            }
            _ => {
                let value = round as u8 + 1;
                again(what, kind, || write_bytes(image, offset, &mut vec![value; size as usize], round % 8 == 5));
                expected[range].fill(value);
            }
        }
    }
    again(what, kind, || image.flush());
    expected
}

#[test]
fn what_fails_once_anywhere_and_is_made_again_is_all_there() {
    if !qemu_img_is_there() {
        return;
    }
    let place = Workplace::new();
    let base: Vec<u8> = (0..300_u32 << 10).map(|n| (n >> 9) as u8 | 0x80).collect();
    fs::write(place.path("base"), &base).unwrap();
    for (options, len) in
        [("cluster_size=512", 300_u64 << 10), ("cluster_size=4k,refcount_bits=1", 2 << 20), ("compat=0.10", 3 << 20)]
    {
        place.img(&format!("create -q -f qcow2 -F raw -b base -o {options} %/image {len}"));
        let new = place.load("image").contents();
        let run = |fault: usize, error: Fault| {
            let file = Arc::new(Memory::new(new.clone()));
            let faulty = Arc::new(Faulty { file: Arc::clone(&file), left: AtomicUsize::new(usize::MAX), fault: error });
            let backing = Arc::new(Memory::new(base.clone()).read_only());
            let image = open(Arc::clone(&faulty) as Arc<dyn Node>, Some(backing), false).unwrap();
            faulty.left.store(fault, Ordering::Relaxed);
            let mut before = base.clone();
            before.resize(len as usize, 0);
            let what = format!("{options}, access {fault} fails");
            let expected = use_image(&image, before, &what, discriminant(&error()));
            let accesses = fault.wrapping_sub(faulty.left.load(Ordering::Relaxed));
            same(&bytes_of(&image), &expected, &what);
            drop(image);
            fs::write(place.path("image"), file.contents()).unwrap();
            check(&place.path("image")).unwrap_or_else(|report| panic!("{what}: {report}"));
            let backing = Arc::new(Memory::new(base.clone()).read_only());
            same(&bytes_of(&open(file, Some(backing), true).unwrap()), &expected, &what);
            accesses
        };
        let accesses = run(usize::MAX, FAULTS[0]);
        // Not all of them, but others for each kind of image.
        for fault in (1..=accesses).step_by(accesses.div_ceil(15)) {
            run(fault, FAULTS[fault % FAULTS.len()]);
        }
    }
}

/// What an image is built on, with something to be seen of what it is asked.
struct Below {
    file: Arc<dyn Node>,
    /// It loses what it has not flushed yet.
    loses: AtomicBool,
    hurried: AtomicU32,
}

impl Below {
    fn new(file: Memory) -> Arc<Self> {
        Arc::new(Self { file: Arc::new(file), loses: AtomicBool::new(false), hurried: AtomicU32::new(0) })
    }
}

impl Filter for Below {
    fn below(&self) -> &Arc<dyn Node> {
        &self.file
    }

    fn raw(&self) -> Option<RawAccess<'_>> {
        None
    }

    fn flush(&self) -> Result<(), BlockError> {
        if self.loses.swap(false, Ordering::Relaxed) {
            return Err(BlockError::Lost(io::ErrorKind::BrokenPipe.into()));
        }
        self.file.flush()
    }

    fn hurry(&self, hurried: bool) {
        self.hurried.fetch_add(if hurried { 1 } else { u32::MAX }, Ordering::Relaxed);
    }
}

/// A server that went away tells so once. imago does not write again what it has written, so nobody may believe that all is well.
#[test]
fn a_file_that_has_lost_writes_fails_all_flushes_until_it_is_opened_anew() {
    if !qemu_img_is_there() {
        return;
    }
    let place = Workplace::new();
    place.img("create -q -f qcow2 %/image 4M");
    let below = Below::new(place.load("image"));
    let open = || open(Arc::clone(&below) as Arc<dyn Node>, None, false).unwrap();
    let image = open();
    write_bytes(&image, 0, &mut [1; 4096], false).unwrap();
    image.flush().unwrap();
    write_bytes(&image, 0, &mut [2; 4096], false).unwrap();
    below.loses.store(true, Ordering::Relaxed);
    for _ in 0..3 {
        assert!(matches!(image.flush(), Err(BlockError::Lost(_))));
    }
    assert!(matches!(write_bytes(&image, 0, &mut [3; 512], true), Err(BlockError::Lost(_))));
    drop(image);
    let image = open();
    write_bytes(&image, 0, &mut [4; 4096], true).unwrap();
}

#[test]
fn somebody_who_can_not_wait_reaches_everything_that_an_image_is_made_of() {
    if !qemu_img_is_there() {
        return;
    }
    let place = Workplace::new();
    place.img("create -q -f qcow2 %/image 4M");
    let nodes = [Below::new(place.load("image")), Below::new(Memory::new(vec![0; 512]).read_only())];
    let [file, backing] = nodes.each_ref().map(|node| Arc::clone(node) as Arc<dyn Node>);
    let image = open(file, Some(backing), false).unwrap();
    let hurried = || nodes.each_ref().map(|node| node.hurried.load(Ordering::Relaxed));
    image.hurry(true);
    assert_eq!(hurried(), [1, 1]);
    image.hurry(false);
    assert_eq!(hurried(), [0, 0]);
}
