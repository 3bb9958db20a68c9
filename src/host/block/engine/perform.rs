//! A request, carried out through a node.

use devices::backend::block::{BlockError, check_range};
use devices::backend::disk::{Operation, Payload, Request};
use vm_memory::VolatileSlice;

use crate::host::block::node::{Node, part, read_bytes, write_bytes};

/// Carries out a request and gives what [`devices::backend::disk::Completion`] tells of it. `write_through`: whatever is changed
/// survives a loss of power when this returns.
///
/// # Errors
/// The node refuses it; it may have been done in part.
pub(super) fn perform(node: &dyn Node, request: &Request, write_through: bool) -> Result<Vec<u8>, BlockError> {
    let Request { operation, offset, len, payload, .. } = request;
    let (offset, len) = (*offset, *len);
    if operation.modifies() && node.is_read_only() {
        return Err(BlockError::ReadOnly);
    }
    let size = usize::try_from(len).map_err(|_| BlockError::OutOfRange { offset, len: usize::MAX })?;
    check_range(node.len(), offset, size)?;
    match (*operation, payload) {
        (Operation::Read, Payload::Guest(buffer)) => {
            let slices: Vec<_> = buffer.slices().collect();
            node.read(offset, &part(&slices, 0, size))?;
        }
        (Operation::Read, Payload::None | Payload::Bytes(_)) => {
            let mut data = vec![0; size];
            read_bytes(node, offset, &mut data)?;
            return Ok(data);
        }
        (Operation::Write { durable }, Payload::Guest(buffer)) => {
            let slices: Vec<VolatileSlice<'_>> = buffer.slices().collect();
            node.write(offset, &part(&slices, 0, size), durable)?;
        }
        (Operation::Write { durable }, Payload::Bytes(bytes)) => {
            write_bytes(node, offset, &mut bytes.to_vec(), durable)?;
        }
        (Operation::Write { .. }, Payload::None) => {}
        (Operation::Flush, _) => node.flush()?,
        (Operation::Discard, _) => node.discard(offset, len)?,
        (Operation::WriteZeroes { may_unmap }, _) => {
            node.write_zeroes(offset, len, may_unmap)?;
            if write_through {
                node.flush()?;
            }
        }
    }
    Ok(Vec::new())
}
