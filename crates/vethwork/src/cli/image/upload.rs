//! `import` and `load`: archives sent to the daemon.

use crate::{
    cli::{
        Context, Done, Failure,
        output::{print, print_line},
    },
    client::{Answer, Host, Request},
};
use clap::Args;
use hyper::body::Bytes;
use serde::Deserialize;
use std::{
    fs::File,
    io::{self, IsTerminal, Read},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use tokio::sync::mpsc;

/// How much is sent at once.
const PIECE: usize = 128 << 10;
/// How often progress is told.
const TICK: Duration = Duration::from_millis(100);

/// `import`.
#[derive(Debug, Args)]
pub(crate) struct Import {
    /// Apply Dockerfile instruction to the created image
    #[arg(short, long, value_name = "INSTRUCTION")]
    change: Vec<String>,
    /// Set commit message for imported image
    #[arg(
        short,
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    message: String,
    /// Set platform
    #[arg(long, value_name = "OS/ARCH")]
    platform: Option<String>,
    /// A tar archive, a folder of the daemon's host, or - for standard input
    #[arg(value_name = "FILE|DIR|-")]
    source: PathBuf,
    /// The image's name
    #[arg(value_name = "NAME[:TAG]")]
    name: String,
}

/// `load`.
#[derive(Debug, Args)]
pub(crate) struct Load {
    /// Read from tar archive file, instead of STDIN
    #[arg(short, long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Suppress the progress on a terminal
    #[arg(short, long)]
    quiet: bool,
}

/// One line of an answer.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Line {
    stream: String,
    status: String,
    error: String,
}

impl Import {
    /// Makes an image of a root file system.
    ///
    /// # Errors
    /// When the source cannot be read or the daemon refuses.
    pub(crate) async fn run(&self, context: &Context) -> Done {
        let folder = self.source.is_dir();
        let from = if folder {
            self.folder(context)?
        } else {
            "-".to_owned()
        };
        let mut request = Request::post(&["images", "create"])
            .query("fromSrc", &from)
            .query("repo", &self.name)
            .option("platform", self.platform.as_deref())
            .option(
                "message",
                Some(&self.message).filter(|message| !message.is_empty()),
            );
        for change in &self.change {
            request = request.query("changes", change);
        }
        let answer = if folder {
            context.client.stream(request).await?
        } else {
            let stdin = self.source == Path::new("-");
            let archive = Archive::open(Some(self.source.as_path()).filter(|_| !stdin), false)?;
            context.client.upload(request.tar(), archive.send()).await?
        };
        tell(answer).await
    }

    /// The address of a folder, which the daemon reads by itself.
    fn folder(&self, context: &Context) -> Done<String> {
        if matches!(context.client.host(), Host::Tcp(_)) {
            return Err(Failure::refused(format!(
                "{} is a folder, which only a daemon of this host can read: send an archive of it \
                 (tar -C {} -c . | vethwork import - {})",
                self.source.display(),
                self.source.display(),
                self.name
            )));
        }
        let path = self.source.canonicalize().map_err(|source| Failure::Io {
            what: format!("cannot find {}", self.source.display()),
            source,
        })?;
        Ok(format!("file://{}", path.display()))
    }
}

impl Load {
    /// Brings in the images of an archive.
    ///
    /// # Errors
    /// When the archive cannot be read or the daemon refuses.
    pub(crate) async fn run(&self, context: &Context) -> Done {
        if self.input.is_none() && io::stdin().is_terminal() {
            return Err(Failure::refused(
                "requested load from stdin, but stdin is empty: name an archive with --input",
            ));
        }
        let archive = Archive::open(self.input.as_deref(), !self.quiet)?;
        let request = Request::post(&["images", "load"]).flag("quiet", true).tar();
        tell(context.client.upload(request, archive.send()).await?).await
    }
}

/// Prints an answer's lines.
async fn tell(mut answer: Answer) -> Done {
    while let Some(line) = answer.line().await? {
        let line: Line = serde_json::from_str(&line).map_err(crate::client::Error::Answer)?;
        if !line.error.is_empty() {
            return Err(Failure::refused(line.error));
        }
        if line.status.is_empty() {
            print(&line.stream)?;
        } else {
            print_line(&line.status)?;
        }
    }
    Ok(())
}

/// What is read and sent.
struct Archive {
    reader: Box<dyn Read + Send>,
    /// Its size, where progress is shown.
    progress: Option<Progress>,
}

impl Archive {
    fn open(path: Option<&Path>, progress: bool) -> Done<Self> {
        let Some(path) = path else {
            return Ok(Self {
                reader: Box::new(io::stdin()),
                progress: None,
            });
        };
        let open = || {
            let file = File::open(path)?;
            let size = file.metadata()?.len();
            Ok((file, size))
        };
        let (file, size) = open().map_err(|source| Failure::Io {
            what: format!("cannot read {}", path.display()),
            source,
        })?;
        let shown = progress && io::stderr().is_terminal();
        let progress = shown.then(|| Progress {
            sent: 0,
            size,
            told: Instant::now(),
        });
        Ok(Self {
            reader: Box::new(file),
            progress,
        })
    }

    /// Reads in a thread of its own, as files and pipes block.
    fn send(mut self) -> mpsc::Receiver<io::Result<Bytes>> {
        let (sender, receiver) = mpsc::channel(4);
        std::thread::spawn(move || {
            let mut buffer = vec![0; PIECE];
            loop {
                let piece = match self.reader.read(&mut buffer) {
                    Ok(0) => break,
                    Ok(count) => Ok(Bytes::copy_from_slice(&buffer[..count])),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) => Err(error),
                };
                let count = piece.as_ref().map_or(0, Bytes::len);
                let broken = piece.is_err();
                if sender.blocking_send(piece).is_err() || broken {
                    break;
                }
                if let Some(progress) = &mut self.progress {
                    progress.advance(count);
                }
            }
            if self.progress.is_some() {
                eprint!("\r\x1b[K");
            }
        });
        receiver
    }
}

/// How far an upload is, on one line of a terminal.
struct Progress {
    sent: u64,
    size: u64,
    told: Instant,
}

impl Progress {
    fn advance(&mut self, count: usize) {
        self.sent += count as u64;
        if self.told.elapsed() < TICK {
            return;
        }
        self.told = Instant::now();
        let human = |bytes: u64| crate::render::human_size(bytes as f64);
        eprint!(
            "\rLoading {} of {}\x1b[K",
            human(self.sent),
            human(self.size)
        );
    }
}
