//! Mounts that only one test sees, in a namespace of its own: a small disk, one
//! that turns read-only, one whose syncs fail. Nothing of it is visible on the
//! machine, and all of it goes with the process that holds the namespace,
//! whatever becomes of the test.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

/// A mount namespace.
#[derive(Debug)]
pub struct Mounts {
    holder: Child,
    is_own_user: bool,
}

impl Mounts {
    /// A namespace that the caller mounts in: as root one that knows loop
    /// devices, as anybody else one that doesn't. `None`, with the reason on
    /// standard error, where the kernel allows neither.
    pub fn new() -> Option<Self> {
        let namespaces: [(&[&str], bool); 2] = [(&["--mount"], false), (&["-Ur", "--mount"], true)];
        for (flags, is_own_user) in namespaces {
            // Its standard input ends with the test, however that ends.
            let holder = Command::new("unshare")
                .args(flags)
                .args(["sh", "-c", "echo in; exec cat"])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn();
            let Ok(mut holder) = holder else { continue };
            let mut said = String::new();
            let answers = BufReader::new(holder.stdout.take().unwrap()).read_line(&mut said);
            let mounts = Self {
                holder,
                is_own_user,
            };
            if answers.is_ok() && said == "in\n" {
                return Some(mounts);
            }
        }
        eprintln!(
            "SKIPPED: no mount namespace here (neither `unshare -m` nor `unshare -Urm` works)"
        );
        None
    }

    /// The words that put a command into it.
    pub fn enter(&self) -> Vec<String> {
        let mut words = vec![
            "nsenter".to_owned(),
            format!("--target={}", self.holder.id()),
        ];
        if self.is_own_user {
            words.extend(["--user".to_owned(), "--preserve-credentials".to_owned()]);
        }
        words.extend(["--mount".to_owned(), "--".to_owned()]);
        words
    }

    /// How a path inside is reached from outside.
    pub fn seen(&self, path: &Path) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.holder.id()));
        root.join(path.strip_prefix("/").unwrap())
    }

    /// Runs a shell command inside; whether it went well.
    pub fn tries(&self, script: &str) -> bool {
        let done = self.shell(script);
        if !done.status.success() {
            eprintln!("{script}: {}", String::from_utf8_lossy(&done.stderr));
        }
        done.status.success()
    }

    /// Runs a shell command inside.
    ///
    /// # Panics
    /// When it fails.
    pub fn run(&self, script: &str) {
        assert!(self.tries(script), "{script}");
    }

    /// Runs a shell command inside: what it printed.
    ///
    /// # Panics
    /// When it fails.
    pub fn output(&self, script: &str) -> String {
        let done = self.shell(script);
        assert!(
            done.status.success(),
            "{script}: {}",
            String::from_utf8_lossy(&done.stderr)
        );
        String::from_utf8(done.stdout).unwrap()
    }

    fn shell(&self, script: &str) -> Output {
        let words = self.enter();
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).args(["sh", "-c", script]);
        command.output().unwrap()
    }

    /// A small disk at `dir`, in memory.
    pub fn small_disk(&self, dir: &Path, kib: u32) {
        let dir = dir.display();
        self.run(&format!(
            "mkdir -p {dir} && mount -t tmpfs -o size={kib}k spool {dir}"
        ));
    }

    /// Gives that disk another size.
    pub fn resize(&self, dir: &Path, kib: u32) {
        let dir = dir.display();
        self.run(&format!("mount -o remount,size={kib}k {dir}"));
    }

    /// Makes `dir` read-only by a mount over it: what is open stays so, and the
    /// kernel refuses to turn a mount read-only under a file that is being written.
    pub fn make_read_only(&self, dir: &Path) {
        let dir = dir.display();
        self.run(&format!(
            "mount --bind {dir} {dir} && mount -o remount,bind,ro {dir}"
        ));
    }

    /// Takes away what [`make_read_only`](Self::make_read_only) mounted.
    pub fn make_writable(&self, dir: &Path) {
        self.run(&format!("umount --lazy {}", dir.display()));
    }
}

impl Drop for Mounts {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
