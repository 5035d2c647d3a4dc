//! A terminal of a test's own with a shell in it: a tmux that nobody else sees.
//! What a person would see of it is looked at until it is as it should be.

use std::path::Path;
use std::process::{Command, Output};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::exclusive::{Place, place};

/// The longest that anything may take that is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What the shell says when it is ready.
pub const PROMPT: &str = "ready> ";

/// The terminal.
pub struct Terminal {
    dir: TempDir,
    _place: Place,
}

impl Terminal {
    /// A terminal of so many columns and rows, with a shell in `directory`, whose
    /// environment is this and hardly anything else.
    pub fn open(size: (u16, u16), directory: &Path, environment: &[(&str, &str)]) -> Self {
        let terminal = Self {
            dir: tempfile::tempdir().unwrap(),
            _place: place(),
        };
        let (columns, rows) = (size.0.to_string(), size.1.to_string());
        let path = format!("PATH={}", std::env::var("PATH").unwrap());
        let variables = environment.iter();
        let variables: Vec<String> = variables
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let prompt = format!("PS1={PROMPT}");
        let mut shell = vec!["new-session", "-d", "-x", &columns, "-y", &rows, "-c"];
        shell.push(directory.to_str().unwrap());
        shell.extend([
            "env",
            "-i",
            "TERM=tmux-256color",
            "LC_ALL=C.UTF-8",
            &path,
            &prompt,
        ]);
        shell.extend(variables.iter().map(String::as_str));
        shell.extend(["bash", "--norc", "--noprofile", "-i"]);
        terminal.tmux(&shell);
        terminal.wait_until("the prompt", |screen| screen.contains(PROMPT.trim()));
        terminal
    }

    fn tmux(&self, arguments: &[&str]) -> String {
        let run = || -> std::io::Result<Output> {
            let mut tmux = Command::new("tmux");
            tmux.args(["-u", "-f", "/dev/null", "-S"]);
            tmux.arg(self.dir.path().join("socket")).args(arguments);
            tmux.env_remove("TMUX").env("LC_ALL", "C.UTF-8").output()
        };
        let done = run().or_else(|_| {
            let setup = Path::new(env!("CARGO_MANIFEST_DIR")).join("ops/setup");
            let setup = Command::new(setup)
                .args(["--quiet", "--with-tmux"])
                .status();
            assert!(setup.unwrap().success(), "ops/setup --with-tmux");
            run()
        });
        let done = done.unwrap();
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "tmux {arguments:?}: {said}");
        String::from_utf8(done.stdout).unwrap()
    }

    /// Types a line and the return key.
    pub fn type_line(&self, line: &str) {
        self.tmux(&["send-keys", "-l", line]);
        self.press("Enter");
    }

    /// Presses a key, by tmux's name for it.
    pub fn press(&self, key: &str) {
        self.tmux(&["send-keys", key]);
    }

    /// Makes it another size.
    pub fn resize(&self, columns: u16, rows: u16) {
        let (columns, rows) = (columns.to_string(), rows.to_string());
        self.tmux(&["resize-window", "-x", &columns, "-y", &rows]);
    }

    /// What is on it.
    pub fn screen(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    /// What is on it, with colours and the like as escape sequences.
    pub fn styled_screen(&self) -> String {
        self.tmux(&["capture-pane", "-p", "-e"])
    }

    /// What tmux knows of its state: `cursor_flag`, `alternate_on`, ...
    pub fn flag(&self, name: &str) -> String {
        let said = self.tmux(&["display-message", "-p", &format!("#{{{name}}}")]);
        said.trim().to_owned()
    }

    /// Looks at it until there is something to see.
    pub fn wait_for<T>(&self, what: &str, mut look: impl FnMut(&str) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let screen = self.screen();
            if let Some(seen) = look(&screen) {
                return seen;
            }
            assert!(Instant::now() < deadline, "waited for {what}:\n{screen}");
            thread::sleep(LOOK_EVERY);
        }
    }

    /// Looks at it until a condition holds.
    pub fn wait_until(&self, what: &str, mut holds: impl FnMut(&str) -> bool) {
        self.wait_for(what, |screen| holds(screen).then_some(()));
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // A test that fails has its own message.
        let mut tmux = Command::new("tmux");
        tmux.arg("-S").arg(self.dir.path().join("socket"));
        let _ = tmux.arg("kill-server").status();
    }
}
