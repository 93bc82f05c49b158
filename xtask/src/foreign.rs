//! What the foreign clients need, and the suites that use them.
//!
//! They live in a virtual environment under the target directory; nothing is installed into the machine, except by
//! `test --all`, which may install Debian packages and says which.

use crate::stages::{Context, Work, cargo};
use crate::{process, workspace};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The clients and their versions, one a line.
const REQUIREMENTS: &str = "conformance/requirements.txt";
const RUST_DRIVER: &str = "conformance/cql/rust_driver/Cargo.toml";
const FLIGHTS: &str = "examples/flights/flights.py";
const FLIGHTS_LOG: &str = "examples/flights_log/flights_log.py";
const CHAOS: &str = "conformance/chaos/main.py";
const LIBRDKAFKA: &str = "conformance/kafka/librdkafka/run.py";
/// A bug of which the stage `chaos` must notice within a run.
const CHAOS_PLANT: &str = "majority_minus_one";
/// Enough for a slow mirror; the packages are some 30 MB.
const INSTALL_LIMIT: Duration = Duration::from_secs(10 * 60);
/// Opens the console in the stage `node`. The largest of the packages: some 81 MB to fetch, 290 MB on the disk, beside libraries.
const BROWSER: &str = "chromium";
/// Programs that `--all` needs beyond those of the plain run, and the Debian package that brings each.
const PROGRAMS: &[(&str, &str)] = &[
    ("mkfs.ext4", "e2fsprogs"),
    ("losetup", "mount"),
    ("mount", "mount"),
    ("unshare", "util-linux"),
    ("ip", "iproute2"),
    ("nft", "nftables"),
    ("python3", "python3-venv"),
    ("cc", "gcc"),
    ("go", "golang-go"),
    ("node", "nodejs"),
    ("npm", "npm"),
    ("java", "openjdk-17-jre-headless"),
    ("mvn", "maven"),
    (BROWSER, "chromium"),
];

/// Whether the simulator has its program.
pub fn simulator_exists() -> bool {
    let root = workspace::root().join("crates/sim");
    let manifest: toml::Table = workspace::text("crates/sim/Cargo.toml").parse().unwrap_or_default();
    manifest.contains_key("bin") || root.join("src/main.rs").exists() || root.join("src/bin").is_dir()
}

/// Whether `holon` has the feature that carries the planted bugs.
pub fn planted_binary_possible() -> bool {
    let manifest = workspace::text("crates/holon/Cargo.toml");
    let table: Option<toml::Table> = manifest.parse().ok();
    table.and_then(|table| table.get("features")?.get("plant").cloned()).is_some()
}

/// Puts the binary just built with planted bugs aside.
pub fn keep_planted_binary() -> Result<(), String> {
    let kept = workspace::holon_planted();
    let folder = kept.parent().map(Path::to_path_buf).unwrap_or_default();
    fs::create_dir_all(folder).map_err(|error| error.to_string())?;
    fs::copy(workspace::holon(), &kept).map(|_| ()).map_err(|error| format!("cannot keep {}: {error}", kept.display()))
}

/// Compiles the program that uses the Rust driver, in a workspace of its own.
pub fn build_rust_driver(work: &mut Work) {
    let mut command = cargo(&["build", "--manifest-path", RUST_DRIVER, "--target-dir"]);
    work.prepare("build rust_driver", command.arg(rust_driver_target()));
}

/// For `--all`: the programs that use the drivers for Go and for Node.js.
pub fn build_other_drivers(work: &mut Work) {
    let root = workspace::root().join("conformance/cql");
    let mut go = Command::new("go");
    go.args(["build", "-o"]).arg(go_driver()).arg(".").current_dir(root.join("go_driver"));
    work.prepare("build go_driver", &mut go);
    let folder = node_driver_folder();
    let copied = fs::create_dir_all(&folder).and_then(|()| {
        ["main.js", "cluster.js", "package.json"]
            .iter()
            .try_for_each(|name| fs::copy(root.join("node_driver").join(name), folder.join(name)).map(|_| ()))
    });
    work.failures.extend(copied.err().map(|error| format!("cannot fill {}: {error}", folder.display())));
    let mut npm = Command::new("npm");
    npm.args(["install", "--no-audit", "--no-fund", "--no-package-lock"]).current_dir(&folder);
    work.prepare("install node_driver", &mut npm);
}

fn go_driver() -> PathBuf {
    workspace::target().join("foreign").join("go_driver")
}

fn node_driver_folder() -> PathBuf {
    workspace::target().join("foreign").join("node_driver")
}

fn rust_driver_target() -> PathBuf {
    workspace::target().join("foreign").join("rust_driver")
}

/// For `--all`: root, and the programs that the privileged tests call.
pub fn prepare_machine() -> Result<(), String> {
    let identity = Command::new("id").arg("-u").output().map_err(|error| format!("cannot run id: {error}"))?;
    if String::from_utf8_lossy(&identity.stdout).trim() != "0" {
        return Err("`test --all` mounts file systems and needs root; run `cargo xtask test` without it".to_string());
    }
    let present = |program: &str| {
        ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"]
            .iter()
            .any(|folder| Path::new(folder).join(program).exists())
            || find_program(program).is_some()
    };
    let mut packages: Vec<&str> =
        PROGRAMS.iter().filter(|(program, _)| !present(program)).map(|(_, package)| *package).collect();
    packages.dedup();
    if packages.is_empty() {
        return Ok(());
    }
    println!("installing Debian packages: {}", packages.join(" "));
    let run = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
        process::run("apt-get", &mut command, INSTALL_LIMIT)
    };
    run(&["update", "-qq"]);
    let mut arguments = vec!["install", "-y", "-qq", "--no-install-recommends"];
    arguments.extend(&packages);
    let began = Instant::now();
    let finished = run(&arguments);
    println!("installing them took {} s", began.elapsed().as_secs());
    let left: Vec<&str> = PROGRAMS.iter().map(|(program, _)| *program).filter(|program| !present(program)).collect();
    if finished.success && left.is_empty() {
        return Ok(());
    }
    Err(format!("cannot install {}: install them by hand, then run `test --all` again", packages.join(", ")))
}

fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|candidate| candidate.is_file())
}

/// Makes the virtual environment, or leaves it when it already holds what the requirements ask for.
pub fn virtualenv() -> Result<(), String> {
    let (folder, wanted) = (workspace::virtualenv(), workspace::text(REQUIREMENTS));
    let stamp = folder.join("installed.txt");
    if !wanted.is_empty() && fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    let names: Vec<&str> = wanted
        .lines()
        .filter_map(|line| line.split('#').next())
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .collect();
    println!("  installing into {}: {}", folder.display(), names.join(" "));
    let python =
        find_program("python3").ok_or("python3 is not on the PATH; the foreign clients need Python 3.9 or newer")?;
    let _ = fs::remove_dir_all(&folder);
    let made = process::run("venv", Command::new(python).args(["-m", "venv"]).arg(&folder), INSTALL_LIMIT);
    if !made.success {
        return Err(format!("{}; on Debian the package python3-venv brings it", made.trouble));
    }
    let mut pip = Command::new(folder.join("bin/python"));
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", REQUIREMENTS]);
    pip.current_dir(workspace::root());
    let installed = process::run("pip", &mut pip, INSTALL_LIMIT);
    if !installed.success {
        return Err(format!("{}; the foreign clients could not be installed", installed.trouble));
    }
    fs::write(&stamp, wanted).map_err(|error| format!("cannot write {}: {error}", stamp.display()))
}

/// A Python of the virtual environment that knows where the binaries are.
fn python() -> Command {
    let mut command = Command::new(workspace::virtualenv().join("bin/python"));
    command.current_dir(workspace::root());
    command.env("HOLON_BINARY", workspace::holon()).env("PYTHONUNBUFFERED", "1").env("PYTHONDONTWRITEBYTECODE", "1");
    command.env("HOLON_RUST_DRIVER", rust_driver_target().join("debug").join("rust_driver"));
    command.env("HOLON_SCRATCH", workspace::target().join("foreign").join("scratch"));
    command.env("HOLON_SIM", workspace::simulator());
    command.env("HOLON_CHAOS_FOLDER", workspace::target().join("foreign").join("chaos"));
    if workspace::holon_planted().exists() {
        command.env("HOLON_BINARY_PLANTED", workspace::holon_planted());
    }
    if go_driver().exists() {
        command.env("HOLON_GO_DRIVER", go_driver());
    }
    if node_driver_folder().join("node_modules").exists() {
        command.env("HOLON_NODE_DRIVER", format!("node {}", node_driver_folder().join("main.js").display()));
    }
    command.stdin(Stdio::null());
    command
}

/// librdkafka's own tests, which are built first: some two minutes of a core, once.
pub fn librdkafka() -> Command {
    let mut command = python();
    command.arg(LIBRDKAFKA);
    command
}

/// pytest over `conformance/<name>`.
pub fn pytest(name: &str, arguments: &[String]) -> Result<Command, String> {
    let folder = format!("conformance/{name}");
    if !workspace::root().join(&folder).is_dir() {
        return Err(format!("there is no {folder}"));
    }
    let mut command = python();
    command.args(["-m", "pytest", "-p", "no:cacheprovider", "-q", "-ra", &folder]).args(arguments);
    Ok(command)
}

/// The flights example, which starts a node of its own.
pub fn flights() -> Command {
    let mut command = python();
    command.arg(FLIGHTS);
    command
}

/// The same flights as events of the log.
pub fn flights_log() -> Command {
    let mut command = python();
    command.arg(FLIGHTS_LOG);
    command
}

/// Real processes in network namespaces, under faults.
pub fn chaos_command() -> Command {
    let mut command = python();
    command.arg(CHAOS);
    command
}

/// Stage `chaos`: runs of a minute each, and that a bug put in on purpose is found.
pub fn chaos(context: &mut Context) -> Work {
    let mut work = Work::default();
    if let Err(trouble) = virtualenv() {
        work.failures.push(trouble);
        return work;
    }
    work.run("chaos", chaos_command().arg("--ci"));
    if workspace::holon_planted().exists() {
        work.run("chaos planted", chaos_command().args(["--seed", "1", "--seconds", "15", "--plant", CHAOS_PLANT]));
    } else {
        let reason = "there is no binary with planted bugs; the stage `build` of --all makes it";
        let list = if context.all { &mut work.failures } else { &mut context.not_run };
        list.push(format!("chaos planted: {reason}"));
    }
    work
}

/// Stage `foreign`: the suites of the foreign clients, and the flights.
pub fn clients(context: &mut Context) -> Work {
    let mut work = Work::default();
    if !context.all {
        context
            .not_run
            .push("foreign: the drivers for Go and Node.js: they need those languages; part of --all".to_string());
    }
    let reason =
        "foreign: librdkafka's own tests: by hand, `cargo xtask conformance librdkafka`, until 0020 is understood";
    context.not_run.push(reason.to_string());
    if let Err(trouble) = virtualenv() {
        work.failures.push(trouble);
        return work;
    }
    suite(&mut work, "cql", "pytest cql", &[]);
    suite(&mut work, "kafka", "pytest kafka", &[]);
    work.run("flights", flights().arg("--kill"));
    work.run("flights log", flights_log().arg("--kill"));
    work
}

/// Stage `node`: the life of a node on a real machine.
pub fn node(context: &mut Context) -> Work {
    let mut work = Work::default();
    if let Err(trouble) = virtualenv() {
        work.failures.push(trouble);
        return work;
    }
    if context.all {
        suite(&mut work, "node", "pytest node", &["-n", "2", "--privileged", "--browser"]);
    } else {
        suite(&mut work, "node", "pytest node", &["-n", "2"]);
        let reason =
            "node: power cuts on a loop-mounted file system, and the planted skip_fsync: need root; part of --all";
        context.not_run.push(reason.to_string());
        if find_program(BROWSER).is_none() {
            let reason = "node: the console in a browser: needs the Debian package chromium; part of --all";
            context.not_run.push(reason.to_string());
        }
    }
    work
}

fn suite(work: &mut Work, name: &str, runner: &str, arguments: &[&str]) {
    let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_string()).collect();
    match pytest(name, &arguments) {
        Ok(mut command) => {
            work.run(runner, &mut command);
        }
        Err(trouble) => work.failures.push(trouble),
    }
}
