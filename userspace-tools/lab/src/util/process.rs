// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Running other programs.

use std::{
    env,
    ffi::OsStr,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use anyhow::{bail, Context, Result};

/// Finds a program in `PATH`, in the folders of system administration and in cargo's folder of
/// the user and of the one who called sudo.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = env::split_paths(&path).collect();
    folders.extend(["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(Into::into));
    folders.extend(env::var_os("CARGO_HOME").map(|home| Path::new(&home).join("bin")));
    folders.extend(env::var_os("HOME").map(|home| Path::new(&home).join(".cargo/bin")));
    folders
        .into_iter()
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
}

/// Runs a command and gives what it wrote on its standard output.
///
/// # Errors
///
/// It did not start, or ended with another status than 0; what it wrote on standard error is told.
pub fn capture(command: &mut Command) -> Result<String> {
    let output = output(command)?;
    if !output.status.success() {
        bail!(
            "{} failed ({}): {}",
            name(command),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a command to its end and gives all that it wrote.
///
/// # Errors
///
/// It did not start.
pub fn output(command: &mut Command) -> Result<Output> {
    command
        .output()
        .with_context(|| format!("cannot run {}", name(command)))
}

/// The name of a command's program, for messages.
pub fn name(command: &Command) -> String {
    Path::new(command.get_program())
        .file_name()
        .unwrap_or(OsStr::new("?"))
        .to_string_lossy()
        .into_owned()
}

/// Lets the kernel kill the command when the thread that started it ends, however it ends.
pub fn die_with_parent(command: &mut Command) -> &mut Command {
    let parent = std::process::id();
    // SAFETY: Between fork and exec only prctl() and getppid() are called, which are
    // async-signal-safe, and nothing is allocated.
    unsafe {
        command.pre_exec(move || {
            if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0 {
                return Err(std::io::Error::last_os_error());
            }
            if libc::getppid().unsigned_abs() != parent {
                return Err(std::io::Error::from_raw_os_error(libc::ESRCH));
            }
            Ok(())
        })
    }
}

/// A command that runs in its own mount and process namespaces: what it mounts is gone and all
/// that it started is dead as soon as this process, or the command, ends.
pub fn contained(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "--propagation", "private"])
        .args(["--pid", "--fork", "--kill-child=KILL", "--mount-proc"])
        .arg("--")
        .arg(program);
    die_with_parent(&mut command);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_programs() {
        assert!(find_program("sh").is_some());
        assert!(find_program("no-such-program-at-all").is_none());
    }

    #[test]
    fn captures_output_and_tells_failures() {
        let text = capture(Command::new("sh").args(["-c", "echo out"])).expect("echo works");
        assert_eq!(text, "out\n");
        let error = capture(Command::new("sh").args(["-c", "echo why >&2; exit 3"]))
            .expect_err("status 3 is a failure");
        assert!(error.to_string().contains("why"), "{error}");
    }
}
