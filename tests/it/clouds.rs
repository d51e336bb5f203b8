//! Stores as clouds and companies have them: credentials from every source, TLS with an authority of one's own, proxies.
//!
//! The program runs as a process here, because the libraries below read the environment of the process.

mod aws;
mod network;
mod others;
mod slow;
