// Command libcni-peer puts the Go library libcni behind a command line, so that podnet's tests and
// benchmarks can meet the real thing: each verb is one call of the library, nothing is added to it.
//
//	libcni-peer add|check|del|cached|bench|pods --conflist FILE --path DIRS [flags]
//
// What a verb has to say is one line of JSON on stdout; an error is one line {"error": "..."}, the
// last on stderr, and exit status 1. What plugins write to stderr is passed through, as libcni does.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/invoke"
	"github.com/containernetworking/cni/pkg/types"
	"github.com/containernetworking/cni/pkg/version"
)

const usage = "usage: libcni-peer add|check|del|cached|bench|pods --conflist FILE --path DIRS [flags]"

var verbs = map[string]func(*peer) (any, error){
	"add":    (*peer).add,
	"check":  (*peer).check,
	"del":    (*peer).del,
	"cached": (*peer).cached,
	"bench":  (*peer).bench,
	"pods":   (*peer).pods,
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		_ = json.NewEncoder(os.Stderr).Encode(map[string]string{"error": err.Error()})
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 0 {
		return errors.New(usage)
	}
	verb, known := verbs[args[0]]
	if !known {
		return fmt.Errorf("unknown verb %q; %s", args[0], usage)
	}
	p, err := newPeer(args[1:])
	if err != nil {
		return err
	}
	answer, err := verb(p)
	if err != nil || answer == nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(answer)
}

// A peer is one command line, understood.
type peer struct {
	list     *libcni.NetworkConfigList
	rt       libcni.RuntimeConf
	path     []string
	cacheDir string

	// Of the bench alone.
	count, parallel, warmup int
	netnsDir                string
	skipCheck               bool
}

func newPeer(args []string) (*peer, error) {
	p := &peer{}
	flags := flag.NewFlagSet("libcni-peer", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // an error is reported once, as JSON
	conflist := flags.String("conflist", "", "`file` of the network configuration list")
	path := flags.String("path", "", "plugin search path, `a:b`")
	cniArgs := flags.String("args", "", "CNI_ARGS, `K=V;K=V`")
	caps := flags.String("caps", "", "capability arguments, a JSON `object`")
	flags.StringVar(&p.rt.ContainerID, "id", "", "container ID")
	flags.StringVar(&p.rt.NetNS, "netns", "", "`path` of the container's network namespace")
	flags.StringVar(&p.rt.IfName, "ifname", "eth0", "interface name in the container")
	flags.StringVar(&p.cacheDir, "cache-dir", "", "`dir` of the cache (libcni's own default: /var/lib/cni)")
	flags.IntVar(&p.count, "count", 100, "bench: cycles to measure, over all workers")
	flags.IntVar(&p.parallel, "parallel", 1, "bench: workers")
	flags.IntVar(&p.warmup, "warmup", 2, "bench: cycles each worker does first, unmeasured")
	flags.StringVar(&p.netnsDir, "netns-dir", "", "bench: `dir` of the namespaces ns0, ns1, ..., one per worker")
	flags.BoolVar(&p.skipCheck, "skip-check", false, "bench, pods: leave CHECK out")

	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		fmt.Println(usage)
		flags.SetOutput(os.Stdout)
		flags.PrintDefaults()
		os.Exit(0)
	} else if err != nil {
		return nil, err
	}
	if flags.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q; %s", flags.Arg(0), usage)
	}

	if *conflist == "" {
		return nil, fmt.Errorf("--conflist is missing; %s", usage)
	}

	var err error
	if p.rt.Args, err = parseArgs(*cniArgs); err != nil {
		return nil, fmt.Errorf("--args: %w", err)
	}
	if *caps != "" {
		if err := json.Unmarshal([]byte(*caps), &p.rt.CapabilityArgs); err != nil {
			return nil, fmt.Errorf("--caps: %w", err)
		}
	}
	p.path = filepath.SplitList(*path)
	p.list, err = libcni.ConfListFromFile(*conflist)
	return p, err
}

func parseArgs(text string) ([][2]string, error) {
	if text == "" {
		return nil, nil
	}
	var pairs [][2]string
	for _, pair := range strings.Split(text, ";") {
		key, value, found := strings.Cut(pair, "=")
		if !found || key == "" {
			return nil, fmt.Errorf("%q is not KEY=VALUE", pair)
		}
		pairs = append(pairs, [2]string{key, value})
	}
	return pairs, nil
}

func (p *peer) library() *libcni.CNIConfig {
	return libcni.NewCNIConfigWithCacheDir(p.path, p.cacheDir, nil)
}

func (p *peer) add() (any, error) {
	return p.library().AddNetworkList(context.Background(), p.list, &p.rt)
}

func (p *peer) check() (any, error) {
	return nil, p.library().CheckNetworkList(context.Background(), p.list, &p.rt)
}

func (p *peer) del() (any, error) {
	return nil, p.library().DelNetworkList(context.Background(), p.list, &p.rt)
}

// cacheEntry is what the library reads back from its cache; all null if it finds nothing.
type cacheEntry struct {
	Config         []byte         `json:"config"` // base64
	CNIArgs        [][2]string    `json:"cniArgs"`
	CapabilityArgs map[string]any `json:"capabilityArgs"`
	Result         types.Result   `json:"result"`
}

func (p *peer) cached() (any, error) {
	// Without --args: where the cache has none, the library would hand back the caller's own.
	rt := p.rt
	rt.Args = nil
	config, cachedRT, err := p.library().GetNetworkListCachedConfig(p.list, &rt)
	if err != nil {
		return nil, err
	}
	result, err := p.library().GetNetworkListCachedResult(p.list, &rt)
	if err != nil {
		return nil, err
	}
	entry := cacheEntry{Config: config, Result: result}
	if cachedRT != nil {
		entry.CNIArgs, entry.CapabilityArgs = cachedRT.Args, cachedRT.CapabilityArgs
	}
	return entry, nil
}

// timings are wall times in milliseconds, in the order measured: worker 0's, then worker 1's, ...
type timings struct {
	Add   []float64 `json:"ADD"`
	Check []float64 `json:"CHECK"`
	Del   []float64 `json:"DEL"`
	Wall  float64   `json:"wall_ms"`
	// Of each single run of a plugin: verb, plugin, times.
	Plugins shares `json:"plugins"`
}

type shares map[string]map[string][]float64

func (s shares) add(verb, plugin string, took ...float64) {
	if s[verb] == nil {
		s[verb] = map[string][]float64{}
	}
	s[verb][plugin] = append(s[verb][plugin], took...)
}

// timedExec is the library's own way of running plugins, with a clock beside it.
type timedExec struct {
	*invoke.DefaultExec
	took shares
}

func newTimedExec() *timedExec {
	own := &invoke.DefaultExec{
		RawExec:       &invoke.RawExec{Stderr: os.Stderr},
		PluginDecoder: version.PluginDecoder{},
	}
	return &timedExec{own, shares{}}
}

func (e *timedExec) ExecPlugin(ctx context.Context, path string, stdin []byte, environ []string) ([]byte, error) {
	start := time.Now()
	answer, err := e.DefaultExec.ExecPlugin(ctx, path, stdin, environ)
	for _, variable := range environ {
		if strings.HasPrefix(variable, "CNI_COMMAND=") {
			verb := strings.TrimPrefix(variable, "CNI_COMMAND=")
			e.took.add(verb, filepath.Base(path), milliseconds(start))
		}
	}
	return answer, err
}

func (p *peer) bench() (any, error) {
	if p.count < 1 || p.parallel < 1 || p.warmup < 0 || p.netnsDir == "" {
		return nil, errors.New("bench needs --netns-dir, --count and --parallel of at least 1, --warmup of at least 0")
	}
	workers := make([]*worker, p.parallel)
	for i := range workers {
		rt := p.rt
		rt.NetNS = filepath.Join(p.netnsDir, fmt.Sprintf("ns%d", i))
		// A library of its own, since the clock beside its exec takes no lock.
		exec := newTimedExec()
		library := libcni.NewCNIConfigWithCacheDir(p.path, p.cacheDir, exec)
		workers[i] = &worker{number: i, library: library, exec: exec, list: p.list, rt: rt, skipCheck: p.skipCheck}
	}
	// Nobody measures before everybody is warm.
	if err := together(workers, func(w *worker, stop *atomic.Bool) error {
		return w.cycles("warm", p.warmup, stop)
	}); err != nil {
		return nil, err
	}
	for _, w := range workers {
		w.took, w.exec.took = timings{}, shares{}
	}
	start := time.Now()
	if err := together(workers, func(w *worker, stop *atomic.Bool) error {
		share := p.count / p.parallel
		if w.number < p.count%p.parallel {
			share++
		}
		return w.cycles("", share, stop)
	}); err != nil {
		return nil, err
	}
	total := timings{Add: []float64{}, Check: []float64{}, Del: []float64{}, Wall: milliseconds(start), Plugins: shares{}}
	for _, w := range workers {
		total.Add = append(total.Add, w.took.Add...)
		total.Check = append(total.Check, w.took.Check...)
		total.Del = append(total.Del, w.took.Del...)
		for verb, plugins := range w.exec.took {
			for plugin, took := range plugins {
				total.Plugins.add(verb, plugin, took...)
			}
		}
	}
	return total, nil
}

// pods has --count containers at a time, in the namespaces ns0, ns1, ...: all of them ADDed by
// --parallel workers, then all CHECKed, then all DELed. The answer is each verb's wall time.
func (p *peer) pods() (any, error) {
	if p.count < 1 || p.parallel < 1 || p.netnsDir == "" {
		return nil, errors.New("pods needs --netns-dir, and --count and --parallel of at least 1")
	}
	verbs := []struct {
		name string
		call func(*libcni.CNIConfig, *libcni.RuntimeConf) error
	}{
		{"ADD", func(library *libcni.CNIConfig, rt *libcni.RuntimeConf) error {
			_, err := library.AddNetworkList(context.Background(), p.list, rt)
			return err
		}},
		{"CHECK", func(library *libcni.CNIConfig, rt *libcni.RuntimeConf) error {
			return library.CheckNetworkList(context.Background(), p.list, rt)
		}},
		{"DEL", func(library *libcni.CNIConfig, rt *libcni.RuntimeConf) error {
			return library.DelNetworkList(context.Background(), p.list, rt)
		}},
	}
	walls := map[string]float64{}
	for _, verb := range verbs {
		if verb.name == "CHECK" && p.skipCheck {
			continue
		}
		workers := make([]*worker, p.parallel)
		for i := range workers {
			workers[i] = &worker{number: i, library: p.library()}
		}
		start := time.Now()
		if err := together(workers, func(w *worker, stop *atomic.Bool) error {
			for i := w.number; i < p.count && !stop.Load(); i += p.parallel {
				rt := p.rt
				rt.ContainerID = fmt.Sprintf("pod-%d", i)
				rt.NetNS = filepath.Join(p.netnsDir, fmt.Sprintf("ns%d", i))
				if err := verb.call(w.library, &rt); err != nil {
					return fmt.Errorf("%s %s: %w", verb.name, rt.ContainerID, err)
				}
			}
			return nil
		}); err != nil {
			return nil, err
		}
		walls[verb.name] = milliseconds(start)
	}
	return walls, nil
}

// together has every worker do the work at once; the first error stops them all between two cycles.
func together(workers []*worker, work func(*worker, *atomic.Bool) error) error {
	var wait sync.WaitGroup
	var once sync.Once
	var stop atomic.Bool
	var first error
	for _, w := range workers {
		wait.Add(1)
		go func(w *worker) {
			defer wait.Done()
			if err := work(w, &stop); err != nil {
				once.Do(func() { first = err })
				stop.Store(true)
			}
		}(w)
	}
	wait.Wait()
	return first
}

// A worker plays one container after another in a network namespace of its own.
type worker struct {
	number    int
	library   *libcni.CNIConfig
	exec      *timedExec
	list      *libcni.NetworkConfigList
	rt        libcni.RuntimeConf
	skipCheck bool
	took      timings
}

func (w *worker) cycles(label string, count int, stop *atomic.Bool) error {
	for i := 0; i < count && !stop.Load(); i++ {
		w.rt.ContainerID = fmt.Sprintf("bench-%d-%s%d", w.number, label, i)
		if err := w.cycle(context.Background()); err != nil {
			// Leave nothing behind: a failed ADD, too, is owed its DEL.
			_ = w.library.DelNetworkList(context.Background(), w.list, &w.rt)
			return fmt.Errorf("%s: %w", w.rt.ContainerID, err)
		}
	}
	return nil
}

func (w *worker) cycle(ctx context.Context) error {
	start := time.Now()
	if _, err := w.library.AddNetworkList(ctx, w.list, &w.rt); err != nil {
		return fmt.Errorf("ADD: %w", err)
	}
	w.took.Add = append(w.took.Add, milliseconds(start))

	if !w.skipCheck {
		start = time.Now()
		if err := w.library.CheckNetworkList(ctx, w.list, &w.rt); err != nil {
			return fmt.Errorf("CHECK: %w", err)
		}
		w.took.Check = append(w.took.Check, milliseconds(start))
	}

	start = time.Now()
	if err := w.library.DelNetworkList(ctx, w.list, &w.rt); err != nil {
		return fmt.Errorf("DEL: %w", err)
	}
	w.took.Del = append(w.took.Del, milliseconds(start))
	return nil
}

func milliseconds(since time.Time) float64 {
	return float64(time.Since(since).Microseconds()) / 1000
}
