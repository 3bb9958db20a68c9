//! Device models of the classic PC.
#![forbid(unsafe_code)]
