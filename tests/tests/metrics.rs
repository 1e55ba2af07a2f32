//! What a program sees of groups by the facade of the `metrics` crate.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use metrics::{
    Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit,
};
use mosaik::metric_names::{GROUP_COMMAND_SECONDS, GROUP_QUERY_SECONDS};
use mosaik_tests::{DEADLINE, machines, node, unique, within};

/// What was recorded in histograms, by their names.
#[derive(Clone, Default)]
struct Recorded(Arc<Mutex<BTreeMap<String, Vec<f64>>>>);

impl Recorded {
    fn of(&self, name: &str) -> Vec<f64> {
        let recorded = self.0.lock().expect("no test panicked with it");
        recorded.get(name).cloned().unwrap_or_default()
    }
}

/// One of the histograms.
struct One(String, Recorded);

impl HistogramFn for One {
    fn record(&self, value: f64) {
        let mut recorded = self.1.0.lock().expect("no test panicked with it");
        recorded.entry(self.0.clone()).or_default().push(value);
    }
}

impl Recorder for Recorded {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
        Counter::noop()
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(Arc::new(One(key.name().into(), self.clone())))
    }
}

#[test]
fn calls_of_groups_are_timed() {
    let recorded = Recorded::default();
    // All tasks run on this thread, to which the recorder belongs.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    metrics::with_local_recorder(&recorded, || {
        runtime.block_on(async {
            let network = node(&unique("metrics"), &[]).await;
            let group = network.groups().join::<machines::Counter>("counts");
            within(group.execute(7)).await.unwrap();
            within(group.execute_all(vec![1, 2, 3])).await.unwrap();
            assert_eq!(within(group.query(())).await.unwrap(), 13);
            let client = network.groups().connect::<machines::Counter>("counts");
            within(client.execute(1)).await.unwrap();
            assert_eq!(within(client.query(())).await.unwrap(), 14);
            network.shutdown().await;
            assert!(group.execute(1).await.is_err(), "there is no network");
        });
    });
    let check = |name: &str, calls: usize| {
        let seconds = recorded.of(name);
        assert_eq!(seconds.len(), calls, "{name}: {seconds:?}");
        let limit = DEADLINE.as_secs_f64();
        assert!(
            seconds.iter().all(|s| *s > 0.0 && *s < limit),
            "{name}: {seconds:?}"
        );
    };
    // A batch is one call, and one that fails is one as well.
    check(GROUP_COMMAND_SECONDS, 4);
    check(GROUP_QUERY_SECONDS, 2);
}
