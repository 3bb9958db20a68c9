//! A disk that has done each request before `submit` returns.

use std::collections::VecDeque;

use super::{Completion, DiskBackend, Operation, Payload, Request};
use crate::backend::block::{BlockBackend, BlockError, check_range};

/// Bytes that move at a time between guest RAM and a medium that knows no vectors.
const PIECE: usize = 64 << 10;

/// Makes a disk of a block back end. A request takes the submitter's time.
pub struct AtOnce {
    medium: Box<dyn BlockBackend>,
    completions: VecDeque<Completion>,
}

impl AtOnce {
    /// A disk over `medium`.
    #[must_use]
    pub fn new(medium: Box<dyn BlockBackend>) -> Self {
        Self { medium, completions: VecDeque::new() }
    }

    /// Carries out a request.
    ///
    /// # Errors
    /// The medium refuses it; it may have been done in part.
    pub fn perform(medium: &mut dyn BlockBackend, request: &Request) -> Result<Vec<u8>, BlockError> {
        let Request { operation, offset, len, payload, .. } = request;
        let size = usize::try_from(*len).map_err(|_| BlockError::OutOfRange { offset: *offset, len: usize::MAX })?;
        if operation.modifies() && medium.is_read_only() {
            return Err(BlockError::ReadOnly);
        }
        check_range(medium.len(), *offset, size)?;
        match (operation, payload) {
            (Operation::Read, Payload::Guest(buffer)) => {
                let mut bounce = vec![0; size.min(PIECE)];
                for start in (0..size).step_by(PIECE) {
                    let piece = &mut bounce[..PIECE.min(size - start)];
                    medium.read_at(offset + start as u64, piece)?;
                    buffer.fill_from(start, piece);
                }
            }
            (Operation::Read, _) => {
                let mut data = vec![0; size];
                medium.read_at(*offset, &mut data)?;
                return Ok(data);
            }
            (Operation::Write { durable }, payload) => {
                match payload {
                    Payload::Guest(buffer) => {
                        let mut bounce = vec![0; size.min(PIECE)];
                        for start in (0..size).step_by(PIECE) {
                            let piece = &mut bounce[..PIECE.min(size - start)];
                            buffer.copy_to(start, piece);
                            medium.write_at(offset + start as u64, piece)?;
                        }
                    }
                    Payload::Bytes(bytes) => medium.write_at(*offset, bytes)?,
                    Payload::None => {}
                }
                if *durable {
                    medium.flush()?;
                }
            }
            (Operation::Flush, _) => medium.flush()?,
            (Operation::Discard, _) => medium.discard(*offset, *len)?,
            (Operation::WriteZeroes { may_unmap }, _) => medium.write_zeroes(*offset, *len, *may_unmap)?,
        }
        Ok(Vec::new())
    }
}

impl DiskBackend for AtOnce {
    fn len(&self) -> u64 {
        self.medium.len()
    }

    fn is_read_only(&self) -> bool {
        self.medium.is_read_only()
    }

    fn submit(&mut self, request: Request) {
        let result = Self::perform(self.medium.as_mut(), &request);
        self.completions.push_back(Completion { id: request.id, result });
    }

    fn completed(&mut self) -> Option<Completion> {
        self.completions.pop_front()
    }

    fn drain(&mut self) {}

    fn cancel(&mut self) {
        self.completions.clear();
    }
}
