//! A proxy in front of Postgres that breaks a connection at an exact message of the client.
//!
//! It knows the framing of version 3.0 of the protocol:
//! <https://www.postgresql.org/docs/current/protocol-message-formats.html>.

use std::io;
use std::net::TcpListener;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, copy_bidirectional};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::runtime::Runtime;
use tokio::sync::watch;

/// A proxy on a free port. Its connections close when this is dropped.
pub struct Proxy {
    pub port: u16,
    script: Arc<Script>,
    runtime: Option<Runtime>,
}

/// Which messages of the clients are counted.
#[derive(Clone, Copy)]
pub enum Which {
    /// All, including those that open a connection, ask for encryption, cancel or terminate.
    Any,
    /// Those that make the server act: a query, an execution, a part or the end of a copy.
    Step,
    /// A simple query `commit`, or the parsing of a statement with this text.
    Commit,
    /// A part of what the client copies to the server.
    CopyData,
}

/// A message of the clients: the `n`-th of its kind, counted from now on or from when this many commits have been
/// passed on. The counts start at 1 and include all connections.
#[derive(Clone, Copy)]
pub struct Moment {
    pub after_commits: usize,
    pub which: Which,
    pub n: usize,
}

impl From<(Which, usize)> for Moment {
    fn from((which, n): (Which, usize)) -> Self {
        Self { after_commits: 0, which, n }
    }
}

/// What a test does at a message. It may take as long as it likes.
pub type Act = Box<dyn FnOnce() + Send>;

/// What happens at the chosen message.
pub enum Fault {
    /// The server never gets the message. Both sides see their connection closed.
    CutBefore,
    /// The server gets the message and what follows it, and acts until it waits for the next query, or for the
    /// continuation of a login or a copy. The client gets no answer and sees its connection closed.
    CutAnswer,
    /// The message is passed on after an act.
    Act(Act),
    /// Like `CutBefore`, with an act while both sides are still waiting.
    Call(Act),
    /// Like `CutAnswer`, with an act after the server has answered and before the client sees its connection closed.
    CallAnswered(Act),
}

impl Proxy {
    /// Starts a proxy that passes everything on to this port of the loopback.
    pub fn start(target_port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("bind a port of the loopback");
        let port = listener.local_addr().expect("read the bound port").port();
        listener.set_nonblocking(true).expect("let the runtime wait for connections");
        let script = Arc::new(Script::default());
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime for the proxy");
        runtime.spawn(accept(listener, target_port, Arc::clone(&script)));
        Self { port, script, runtime: Some(runtime) }
    }

    /// Arms a fault. It happens once, right before the `n`-th message from now that is one of `which` is passed on to
    /// the server.
    pub fn at(&self, which: Which, n: usize, fault: Fault) {
        self.at_moment((which, n).into(), fault);
    }

    /// Arms a fault. It happens once, right before that message is passed on to the server.
    pub fn at_moment(&self, Moment { after_commits, which, n }: Moment, fault: Fault) {
        assert!(n > 0, "the first message has number 1");
        self.script.lock().armed.push(Armed { after_commits, which, left: n, fault });
    }

    /// Removes the faults that have not happened, and returns how many there were.
    pub fn disarm(&self) -> usize {
        std::mem::take(&mut self.script.lock().armed).len()
    }

    /// Closes the connections that are open now.
    pub fn cut_all(&self) {
        self.script.set_all(Link::Cut);
    }

    /// Keeps the connections that are open now open, but passes nothing more on, as if a cable had been pulled.
    pub fn freeze_all(&self) {
        self.script.set_all(Link::Frozen);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // A plain drop would wait for its threads, which panics if the owner is itself asynchronous.
            runtime.shutdown_background();
        }
    }
}

/// What the owner has planned, and the connections that it may break.
#[derive(Default)]
struct Script(Mutex<Plan>);

#[derive(Default)]
struct Plan {
    armed: Vec<Armed>,
    links: Vec<watch::Sender<Link>>,
}

struct Armed {
    /// How many commits must pass before anything counts.
    after_commits: usize,
    which: Which,
    /// How many messages, including the chosen one, are still to come.
    left: usize,
    fault: Fault,
}

#[derive(Clone, Copy, PartialEq)]
enum Link {
    Open,
    Frozen,
    Cut,
}

impl Script {
    /// A test that panicked cannot have left this half changed.
    fn lock(&self) -> MutexGuard<'_, Plan> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_all(&self, link: Link) {
        for sender in &self.lock().links {
            sender.send_replace(link);
        }
    }

    /// Creates a link for a new connection.
    fn link(&self) -> watch::Receiver<Link> {
        let (sender, receiver) = watch::channel(Link::Open);
        let mut plan = self.lock();
        plan.links.retain(|link| !link.is_closed());
        plan.links.push(sender);
        receiver
    }

    /// Counts a message, and takes the faults that are due.
    fn due(&self, message: &[u8]) -> Vec<Fault> {
        let mut plan = self.lock();
        for armed in &mut plan.armed {
            if armed.after_commits > 0 {
                armed.after_commits -= usize::from(is_commit(message));
            } else if armed.which.fits(message) {
                armed.left -= 1;
            }
        }
        plan.armed.extract_if(.., |armed| armed.left == 0).map(|armed| armed.fault).collect()
    }
}

impl Which {
    fn fits(self, message: &[u8]) -> bool {
        match self {
            Self::Any => true,
            Self::Step => matches!(message.first(), Some(b'Q' | b'E' | b'd' | b'c')),
            Self::Commit => is_commit(message),
            Self::CopyData => message.first() == Some(&b'd'),
        }
    }
}

fn is_commit(message: &[u8]) -> bool {
    let mut texts = message.get(5..).unwrap_or_default().split(|byte| *byte == 0);
    let text = match message.first() {
        Some(b'Q') => texts.next(),
        // The name of the statement comes first.
        Some(b'P') => texts.nth(1),
        _ => None,
    };
    text.is_some_and(|text| {
        let text = text.trim_ascii();
        text.strip_suffix(b";").unwrap_or(text).trim_ascii_end().eq_ignore_ascii_case(b"commit")
    })
}

async fn accept(listener: TcpListener, target_port: u16, script: Arc<Script>) {
    let listener = tokio::net::TcpListener::from_std(listener).expect("wait for connections");
    loop {
        let Ok((client, _)) = listener.accept().await else { continue };
        tokio::spawn(connection(client, target_port, Arc::clone(&script)));
    }
}

/// Serves a connection until one side closes it or its link is cut.
async fn connection(client: TcpStream, target_port: u16, script: Arc<Script>) {
    let mut link = script.link();
    let mut service = pin!(serve(client, target_port, &script));
    tokio::select! {
        // A message that comes after `freeze_all` must not slip through.
        biased;
        _ = link.wait_for(|link| *link != Link::Open) => {}
        _ = &mut service => return,
    }
    // A service that is not polled keeps its sockets and sends nothing. There is no error while the script is alive.
    let _ = link.wait_for(|link| *link == Link::Cut).await;
}

async fn serve(mut client: TcpStream, target_port: u16, script: &Script) -> io::Result<()> {
    let mut server = TcpStream::connect(("127.0.0.1", target_port)).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let answers = Mutex::new(Answers::default());
    let ended = pass_all(&mut client, &mut server, script, &answers).await;
    let last = lock(&answers).last.take();
    if let Some(act) = last {
        call(act).await;
    }
    ended
}

async fn pass_all(
    client: &mut TcpStream,
    server: &mut TcpStream,
    script: &Script,
    answers: &Mutex<Answers>,
) -> io::Result<()> {
    if let Opening::Other = open(client, server, script, answers).await? {
        return copy_bidirectional(client, server).await.map(|_| ());
    }
    let ((from_client, to_client), (from_server, to_server)) = (client.split(), server.split());
    tokio::select! {
        ended = pass_requests(from_client, to_server, script, answers) => ended,
        ended = pass_answers(from_server, to_client, answers) => ended,
    }
}

enum Opening {
    /// A session in plain text.
    Session,
    /// An encrypted session, or the cancellation of a query in another session. Nothing in it can be read.
    Other,
}

/// Passes on the packets that come before a session.
async fn open(
    client: &mut TcpStream,
    server: &mut TcpStream,
    script: &Script,
    answers: &Mutex<Answers>,
) -> io::Result<Opening> {
    const CANCEL: u32 = 80_877_102;
    const SSL: u32 = 80_877_103;
    const GSS: u32 = 80_877_104;
    loop {
        let packet = read_packet(client, 0).await?;
        let code = packet.get(4..8).and_then(|code| code.try_into().ok()).map_or(0, u32::from_be_bytes);
        pass_request(&packet, server, script, answers).await?;
        match code {
            CANCEL => return Ok(Opening::Other),
            SSL | GSS => {}
            _ => return Ok(Opening::Session),
        }
        // This is the only answer without a length.
        let answer = server.read_u8().await?;
        pass_answer(b'Z', &[answer], client, answers).await?;
        if answer != b'N' {
            return Ok(Opening::Other);
        }
    }
}

async fn pass_requests(
    client: ReadHalf<'_>,
    mut server: WriteHalf<'_>,
    script: &Script,
    answers: &Mutex<Answers>,
) -> io::Result<()> {
    let mut client = BufReader::with_capacity(64 * 1024, client);
    loop {
        let message = read_packet(&mut client, 1).await?;
        pass_request(&message, &mut server, script, answers).await?;
    }
}

/// Passes a message on to the server, after the faults that are due.
async fn pass_request(
    message: &[u8],
    server: &mut (impl AsyncWrite + Unpin),
    script: &Script,
    answers: &Mutex<Answers>,
) -> io::Result<()> {
    let mut last = None;
    for fault in script.due(message) {
        match fault {
            Fault::CutBefore => return Err(cut()),
            Fault::CutAnswer => last = Some(Box::new(|| {}) as Act),
            Fault::Act(act) => call(act).await,
            Fault::Call(act) => {
                call(act).await;
                return Err(cut());
            }
            Fault::CallAnswered(act) => last = Some(act),
        }
    }
    lock(answers).asked(message, last);
    server.write_all(message).await
}

async fn pass_answers(server: ReadHalf<'_>, mut client: WriteHalf<'_>, answers: &Mutex<Answers>) -> io::Result<()> {
    let mut server = BufReader::with_capacity(64 * 1024, server);
    loop {
        let message = read_packet(&mut server, 1).await?;
        pass_answer(message[0], &message, &mut client, answers).await?;
    }
}

/// Passes a message of this kind on to the client, unless the client must not hear it.
async fn pass_answer(
    kind: u8,
    message: &[u8],
    client: &mut (impl AsyncWrite + Unpin),
    answers: &Mutex<Answers>,
) -> io::Result<()> {
    let heard = lock(answers).answered(kind);
    match heard {
        Heard::Pass => client.write_all(message).await,
        Heard::Swallow => Ok(()),
        Heard::End => Err(cut()),
    }
}

/// Which answers of the server are still to come. The server sends one `ReadyForQuery` for each request. Clients send
/// requests without waiting, so the first one may belong to an earlier request.
#[derive(Default)]
struct Answers {
    due: usize,
    /// Whether the current request came with a `Sync` of its own.
    extended: bool,
    /// If set, the client hears nothing more, and the connection ends with this act when no answer is due.
    last: Option<Act>,
}

enum Heard {
    Pass,
    Swallow,
    End,
}

impl Answers {
    fn asked(&mut self, message: &[u8], last: Option<Act>) {
        match message.first() {
            // A query, a function call, or a packet before the session, which begins with its length.
            Some(b'Q' | b'F' | 0) => {
                self.due += 1;
                self.extended = false;
            }
            Some(b'E') => self.extended = true,
            Some(b'S') => self.due += 1,
            _ => {}
        }
        self.last = self.last.take().or(last);
    }

    fn answered(&mut self, kind: u8) -> Heard {
        let ready = kind == b'Z';
        // The server ignores a `Sync` from here to the end of the copy. The client sent one along with the request.
        let ignores_sync = kind == b'G' && self.extended;
        if ready || ignores_sync {
            self.due = self.due.saturating_sub(1);
        }
        // A client that hears nothing of a login or a copy never continues it.
        let waits = matches!(kind, b'G' | b'R');
        match self.last {
            None => Heard::Pass,
            Some(_) if waits || ready && self.due == 0 => Heard::End,
            Some(_) => Heard::Swallow,
        }
    }
}

fn lock(answers: &Mutex<Answers>) -> MutexGuard<'_, Answers> {
    answers.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs the act of a test where it may block. A panic is printed where it happens.
async fn call(act: Act) {
    let _ = tokio::task::spawn_blocking(act).await;
}

fn cut() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "a fault was injected")
}

/// Reads a packet: `head` bytes, then the length of the rest including itself, then the rest.
async fn read_packet(from: &mut (impl AsyncRead + Unpin), head: usize) -> io::Result<Vec<u8>> {
    let mut packet = vec![0; head + 4];
    from.read_exact(&mut packet).await?;
    let length = packet[head..].try_into().map_or(0, u32::from_be_bytes);
    packet.resize(head + usize::try_from(length).unwrap_or(0).max(4), 0);
    from.read_exact(&mut packet[head + 4..]).await?;
    Ok(packet)
}
