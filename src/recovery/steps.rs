//! Bringing back what is down as steps of a plan: a layer begins when the one below it answers. Nothing here outlives a
//! boot, and nothing that users have is touched, but for an instance that runs without its card.

use crate::action::task::Task;
use crate::action::unit::Started;
use crate::action::{ActionId, Checked};
use crate::engine::base;
use crate::engine::service::{Layer, Service, by_unit};
use crate::gpu::mend;
use crate::host::Host;
use crate::installation::Installation;
use crate::network::keep;
use crate::plan::Step;
use std::sync::Arc;

/// All steps. Services of one layer come back at once.
pub fn steps(installation: &Installation) -> Vec<Step> {
    let services = installation.engine.services(&installation.config);
    let prober = Arc::new(installation.prober());
    let mut steps = vec![Step::new("gpu", "Bind the cards for instances").with(mend::bound())];
    let mut below = vec!["gpu".to_owned()];
    for layer in Layer::ALL {
        let mut here = Vec::new();
        for service in by_unit(&services).filter(|service| service.layer == layer) {
            let step = Step::new(&step_name(service), &format!("Bring {} back", service.id)).after(&words(&below));
            let (prober, asked) = (prober.clone(), service.clone());
            let answers = move |host: &Host| prober.ask_alone(host, &asked);
            let started = Started::new(&service.unit).until(service.time_limit, answers).only_up();
            steps.push(step.with(started));
            here.push(step_name(service));
        }
        if layer == Layer::Switch {
            let step = Step::new("network", "Bring the network back").after(&words(&here)).after(&words(&below));
            steps.push(step.with(network(installation)));
            here.push("network".to_owned());
        }
        if !here.is_empty() {
            below = here;
        }
    }
    let last = Step::new("healthy", "See that the cloud is healthy").after(&words(&below)).closing();
    steps.push(last.with(base::healthy(services, prober)));
    if let Some((admin, cloud)) = installation.cloud_admin() {
        let step = Step::new("gpu-instances", "Give instances their cards back").after(&["healthy"]);
        steps.push(step.with(mend::given_again(admin.clone(), cloud)));
    }
    steps
}

fn words(names: &[String]) -> Vec<&str> {
    names.iter().map(String::as_str).collect()
}

fn step_name(service: &Service) -> String {
    format!("start-{}", service.id)
}

fn network(installation: &Installation) -> Task {
    let (config, again) = (installation.config.clone(), installation.config.clone());
    let probe = move |host: &Host| {
        let left = keep::missing(host, &config)?;
        let words: Vec<String> = left.iter().map(ToString::to_string).collect();
        Ok(Checked::done_if(words.is_empty(), words.join("; ")))
    };
    let work = move |host: &Host| {
        // A card that is gone must not keep the services down; the last look says what is missing.
        for failed in keep::bring_back(host, &again)?.failed {
            host.warn(&failed);
        }
        Ok(())
    };
    Task::new(ActionId::new("network", "kept"), "Bring the network into its state", probe, work)
        .at_runtime()
        .asking_the_running_system()
}
