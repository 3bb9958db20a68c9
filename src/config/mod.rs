//! The description of one machine as plain typed data.
