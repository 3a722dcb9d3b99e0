//! A lab of NATs in network namespaces, without root. Only Linux has those.

#[cfg(target_os = "linux")]
mod cli;

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    cli::main()
}

#[cfg(not(target_os = "linux"))]
fn main() -> std::process::ExitCode {
    edge::fail("natlab", &anyhow::anyhow!("labs are made of Linux namespaces"))
}
