//! What drives have done so far: QEMU's `BlockDeviceStats`.

use serde_json::{Value, json};

/// What requests of one kind came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TallyInfo {
    /// Requests that were carried out.
    pub operations: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// Nanoseconds that they took.
    pub nanoseconds: u64,
    /// Requests that failed.
    pub failed: u64,
}

/// What a drive has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "kinds of requests")]
pub struct StatsInfo {
    pub read: TallyInfo,
    pub write: TallyInfo,
    pub flush: TallyInfo,
    pub unmap: TallyInfo,
    pub highest_written: u64,
}

impl StatsInfo {
    /// The value of `stats` of a drive.
    #[must_use]
    pub fn json(&self) -> Value {
        self.json_of(true)
    }

    /// The value of `stats` of a node, of which only the end of what was written is known.
    pub(super) fn of_node(highest_written: u64) -> Value {
        Self { highest_written, ..Self::default() }.json_of(false)
    }

    /// Requests are neither merged nor refused before they are made; `counts`: those that fail are counted.
    fn json_of(&self, counts: bool) -> Value {
        let Self { read, write, flush, unmap, highest_written } = self;
        let mut json = json!({
            "wr_highest_offset": highest_written, "rd_merged": 0, "wr_merged": 0, "unmap_merged": 0, "account_invalid": counts,
            "account_failed": counts, "timed_stats": [],
        });
        for (name, tally) in [("rd", read), ("wr", write), ("unmap", unmap), ("flush", flush)] {
            json[format!("{name}_operations")] = tally.operations.into();
            json[format!("{name}_total_time_ns")] = tally.nanoseconds.into();
            json[format!("failed_{name}_operations")] = tally.failed.into();
            json[format!("invalid_{name}_operations")] = 0.into();
            if name != "flush" {
                json[format!("{name}_bytes")] = tally.bytes.into();
            }
        }
        json
    }

    /// A line of `info blockstats`.
    pub(super) fn text(&self) -> String {
        let Self { read, write, flush, .. } = self;
        format!(
            "rd_bytes={} wr_bytes={} rd_operations={} wr_operations={} flush_operations={} wr_total_time_ns={} \
             rd_total_time_ns={} flush_total_time_ns={} rd_merged=0 wr_merged=0 idle_time_ns=0",
            read.bytes,
            write.bytes,
            read.operations,
            write.operations,
            flush.operations,
            write.nanoseconds,
            read.nanoseconds,
            flush.nanoseconds
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The members of QEMU 7.2's answer.
    #[test]
    fn all_members_are_there() {
        let read = TallyInfo { operations: 1, bytes: 512, nanoseconds: 7, failed: 2 };
        let stats = StatsInfo { read, ..StatsInfo::default() };
        assert_eq!(
            stats.json(),
            json!({
                "unmap_operations": 0, "unmap_merged": 0, "flush_total_time_ns": 0, "wr_highest_offset": 0,
                "wr_total_time_ns": 0, "failed_wr_operations": 0, "failed_rd_operations": 2, "wr_merged": 0, "wr_bytes": 0,
                "timed_stats": [], "failed_unmap_operations": 0, "failed_flush_operations": 0, "account_invalid": true,
                "rd_total_time_ns": 7, "invalid_unmap_operations": 0, "flush_operations": 0, "wr_operations": 0,
                "unmap_bytes": 0, "rd_merged": 0, "rd_bytes": 512, "unmap_total_time_ns": 0,
                "invalid_flush_operations": 0, "account_failed": true, "rd_operations": 1, "invalid_wr_operations": 0,
                "invalid_rd_operations": 0,
            })
        );
        assert!(stats.text().starts_with("rd_bytes=512 wr_bytes=0 rd_operations=1 "), "{}", stats.text());
    }
}
