//! The table agrees with itself.
