//! The DMA controllers: channels 0 to 3 transfer bytes, 5 to 7 words.

use devices::base::{BusMaster, Dma, DmaChannel, GuestRam, Shared, shared};
use devices::chipset::i8257::{self, I8257, Width};

use super::Board;
use crate::machine::board::port;

/// The pair.
pub struct IsaDma {
    bytes: Shared<I8257>,
    words: Shared<I8257>,
}

impl IsaDma {
    /// A pair that transfers to and from `ram`.
    pub fn new(ram: &GuestRam) -> Self {
        let controller = |width| shared(I8257::new(width, Dma::new(GuestRam::clone(ram), BusMaster::always())));
        Self { bytes: controller(Width::Bits8), words: controller(Width::Bits16) }
    }
}

impl Board {
    pub(super) fn add_dma(&mut self) {
        for (controller, width, bases) in [
            (self.dma.bytes.clone(), Width::Bits8, port::DMA_BYTES),
            (self.dma.words.clone(), Width::Bits16, port::DMA_WORDS),
        ] {
            let windows: Vec<_> = bases.into_iter().zip(I8257::regions(width)).collect();
            self.add(&controller, &windows);
        }
    }

    /// The peripheral's end of DMA channel `number` (0 to 7; 4 cascades the controllers and transfers nothing).
    pub(super) fn dma_channel(&self, number: u8) -> Box<dyn DmaChannel> {
        i8257::channel(if number < 4 { &self.dma.bytes } else { &self.dma.words }, number % 4)
    }
}
