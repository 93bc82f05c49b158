//! A connection to a broker that waits for each answer, or leaves that to whoever reads.

use bytes::Bytes;
use holon_kafka::StrBytes;
use holon_kafka::client::{self, Request};
use holon_kafka::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use holon_kafka::messages::{CreateTopicsRequest, MetadataRequest, TopicName};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);
const SETTLING: Duration = Duration::from_secs(2);

pub struct Connection {
    stream: TcpStream,
    correlation_id: i32,
}

fn told(error: &std::io::Error) -> String {
    format!("the connection broke: {error}")
}

impl Connection {
    /// # Errors
    /// Nobody listens.
    pub fn open(address: SocketAddr) -> Result<Connection, String> {
        let stream = TcpStream::connect(address).map_err(|error| format!("{address}: {error}"))?;
        let set = stream.set_nodelay(true).and_then(|()| stream.set_read_timeout(Some(PATIENCE)));
        set.map_err(|error| told(&error))?;
        Ok(Connection { stream, correlation_id: 0 })
    }

    /// The same connection, for another thread.
    ///
    /// # Errors
    /// Too many files are open.
    pub fn other_end(&self) -> Result<Connection, String> {
        let stream = self.stream.try_clone().map_err(|error| told(&error))?;
        Ok(Connection { stream, correlation_id: self.correlation_id })
    }

    /// # Errors
    /// It broke.
    pub fn send(&mut self, frame: &[u8]) -> Result<(), String> {
        self.stream.write_all(frame).map_err(|error| told(&error))
    }

    /// The next answer, without its length.
    ///
    /// # Errors
    /// It broke, or nothing came.
    pub fn receive(&mut self) -> Result<Bytes, String> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length).map_err(|error| told(&error))?;
        let mut frame = vec![0; u32::from_be_bytes(length) as usize];
        self.stream.read_exact(&mut frame).map_err(|error| told(&error))?;
        Ok(frame.into())
    }

    /// # Errors
    /// It broke, or the answer cannot be read.
    pub fn ask<R: Request>(&mut self, request: &R, version: i16) -> Result<R::Response, String> {
        self.correlation_id += 1;
        let name = StrBytes::from_static_str("holon-bench");
        let frame = client::request(request, version, self.correlation_id, name).map_err(|error| error.to_string())?;
        self.send(&frame)?;
        let answer = client::answer::<R>(self.receive()?, version).map_err(|error| error.to_string())?;
        Ok(answer.1)
    }

    /// # Errors
    /// It was not made, or its partitions have no leader in time.
    pub fn create_topic(&mut self, name: &str, partitions: i32, configs: &[(String, String)]) -> Result<(), String> {
        let text = |text: &str| StrBytes::from_string(text.to_string());
        let config = |(key, value): &(String, String)| {
            CreatableTopicConfig::default().with_name(text(key)).with_value(Some(text(value)))
        };
        let topic = CreatableTopic::default()
            .with_name(TopicName(text(name)))
            .with_num_partitions(partitions)
            .with_replication_factor(1)
            .with_configs(configs.iter().map(config).collect());
        let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(30_000);
        let answer = self.ask(&request, 4)?;
        if let Some(refused) = answer.topics.iter().find(|topic| topic.error_code != 0) {
            return Err(format!("{name}: error {} {:?}", refused.error_code, refused.error_message));
        }
        let since = Instant::now();
        while self.partitions_led(name)? < partitions as usize {
            if since.elapsed() > PATIENCE {
                return Err(format!("{name}: its partitions have no leaders"));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        // Kafka tells of leaders before they take anything.
        std::thread::sleep(SETTLING);
        Ok(())
    }

    fn partitions_led(&mut self, name: &str) -> Result<usize, String> {
        use holon_kafka::messages::metadata_request::MetadataRequestTopic;
        let name = TopicName(StrBytes::from_string(name.to_string()));
        let topic = MetadataRequestTopic::default().with_name(Some(name));
        let answer = self.ask(&MetadataRequest::default().with_topics(Some(vec![topic])), 4)?;
        let partitions = answer.topics.iter().flat_map(|topic| &topic.partitions);
        Ok(partitions.filter(|partition| partition.error_code == 0 && partition.leader_id.0 >= 0).count())
    }
}
