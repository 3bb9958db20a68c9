//! Images of drives, and servers of exports, as somebody who means harm would make them.

use std::io;
use std::path::Path;
use std::sync::Arc;

use natoma::host::block::memory::Memory;
use natoma::host::block::nbd::negotiate;
use natoma::host::block::node::{Node, read_bytes, write_bytes};
use natoma::host::block::qcow2::Qcow2;
use natoma::host::block::qcow2::header::Header;
use natoma::host::block::vmdk::Vmdk;

/// Bytes of the clusters of [`small_image`].
const CLUSTER: usize = 512;
/// An image does not get larger than this.
const ROOM: u64 = 4 << 20;

/// A qcow2 image of 64 KiB with two clusters of data: header, refcount table, refcount block, L1 table, two L2 tables, data.
fn small_image() -> Vec<u8> {
    let mut image = vec![0; 9 * CLUSTER];
    let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"QFI\xfb\0\0\0\x03");
    put(20, &9_u32.to_be_bytes());
    put(24, &0x1_0000_u64.to_be_bytes());
    put(36, &2_u32.to_be_bytes());
    put(40, &(3 * CLUSTER as u64).to_be_bytes());
    put(48, &(CLUSTER as u64).to_be_bytes());
    put(56, &1_u32.to_be_bytes());
    put(96, &4_u32.to_be_bytes());
    put(100, &104_u32.to_be_bytes());
    put(CLUSTER, &(2 * CLUSTER as u64).to_be_bytes());
    for cluster in 0..8 {
        put(2 * CLUSTER + cluster * 2, &1_u16.to_be_bytes());
    }
    let link = |cluster: usize| ((1 << 63) | (cluster * CLUSTER) as u64).to_be_bytes();
    put(3 * CLUSTER, &link(4));
    put(3 * CLUSTER + 8, &link(5));
    put(4 * CLUSTER, &link(6));
    put(5 * CLUSTER + 16, &link(7));
    image
}

/// Uses a qcow2 image that differs from a good one in the given places (offset in units of 8 bytes, new contents), and the same as if
/// it had not been closed.
pub fn qcow2(read_only: bool, changes: &[(u16, [u8; 8])]) {
    let mut image = small_image();
    for (place, contents) in changes {
        let at = usize::from(*place) * 8 % image.len();
        image[at..at + 8].copy_from_slice(contents);
    }
    let mut dirty = image.clone();
    dirty[79] |= 1;
    use_qcow2(image, read_only);
    use_qcow2(dirty, read_only);
}

fn use_qcow2(image: Vec<u8>, read_only: bool) {
    let file: Arc<dyn Node> = Arc::new(Memory::new(image).with_room_for(ROOM));
    let Ok(header) = Header::load(&*file) else { return };
    let Ok(image) = Qcow2::open(file, &header, None, read_only) else { return };
    let mut bytes = [0xa5; 1600];
    for offset in [0, 700, 0x8000, image.len().saturating_sub(1600)] {
        // Errors are right as well as success.
        let _ = read_bytes(&image, offset, &mut bytes);
        let _ = write_bytes(&image, offset, &mut bytes, false);
        let _ = image.discard(offset, 1024);
        let _ = image.write_zeroes(offset, 900, offset == 0);
    }
    let _ = image.flush();
}

/// Uses a vmdk image with this description, all of whose parts are there.
pub fn vmdk(description: &[u8]) {
    let part = |_: &Path| Ok(Arc::new(Memory::new(vec![1; 4096]).read_only()) as Arc<dyn Node>);
    let Ok(image) = Vmdk::open(&Memory::new(description.to_vec()), Path::new("/"), part) else { return };
    for offset in [0, 512, image.len() / 2, image.len().saturating_sub(700)] {
        let _ = read_bytes(&image, offset, &mut [0; 700]);
    }
}

/// Asks an NBD server that greets well, and then says this, for an export.
pub fn nbd(answers: &[u8]) {
    let mut script = b"NBDMAGICIHAVEOPT\0\x03".to_vec();
    script.extend_from_slice(answers);
    if let Ok(export) = negotiate(&script[..], io::sink(), "disk") {
        assert!(i64::try_from(export.len).is_ok());
    }
}
