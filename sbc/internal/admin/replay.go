package admin

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"brickhouse/sbc/internal/guard"
	"brickhouse/sbc/internal/score"
	"brickhouse/shared/command"
	"brickhouse/shared/conffile"
	"brickhouse/shared/control"
)

// maxRecording is how large a recording that is sent along may be, in bytes.
const maxRecording = 1 << 30

// replay reads what is to decide, as JSON on the first line, and then a recording, unless the guard's own is asked for.
func replay(r *http.Request, b Border) (any, error) {
	in := bufio.NewReaderSize(r.Body, control.MaxBody)
	line, err := in.ReadSlice('\n')
	if err != nil {
		return nil, control.Errorf(http.StatusBadRequest, "the request does not begin with a line that says what is to decide")
	}
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	var after score.Config
	if err := d.Decode(&after); err != nil {
		return nil, control.Errorf(http.StatusBadRequest, "what is to decide is not as expected: %v", err)
	}
	var from io.Reader = in
	if r.URL.Query().Get("own") == "true" {
		from = nil
	}
	report, err := b.Guard().Replay(r.Context(), after, from)
	var fault score.Fault
	if errors.As(err, &fault) {
		return nil, control.Errorf(http.StatusBadRequest, "%v", err)
	}
	return report, err
}

// ruleChange is what flags change of one rule.
type ruleChange struct {
	name      string
	threshold int
	window    time.Duration
	ban       time.Duration
	growth    float64
	ceiling   time.Duration
	office    int
}

func (ch ruleChange) apply(c *cobra.Command, cfg *score.Config) error {
	changed := func(flag string) bool { return c.Flags().Changed(flag) }
	any := slices.ContainsFunc([]string{"threshold", "window", "ban", "growth", "ceiling", "office"}, changed)
	if ch.name == "" {
		if any {
			return command.Badf("name the rule that is to change with --rule")
		}
		return nil
	}
	i := slices.IndexFunc(cfg.Rules, func(r score.Rule) bool { return r.Name == ch.name })
	if i < 0 {
		return command.Badf("there is no rule %q", ch.name)
	}
	r := &cfg.Rules[i]
	set(changed("threshold"), &r.Threshold, ch.threshold)
	set(changed("window"), &r.Window, ch.window)
	set(changed("ban"), &r.Ban, ch.ban)
	set(changed("growth"), &r.Growth, ch.growth)
	set(changed("ceiling"), &r.Ceiling, ch.ceiling)
	set(changed("office"), &r.Office, ch.office)
	return nil
}

func set[T any](ok bool, to *T, v T) {
	if ok {
		*to = v
	}
}

// scoringFile is a file of what is to decide: these keys of the configuration's guard section.
type scoringFile struct {
	Rules   []score.Rule  `yaml:"rules" doc:"When to ban."`
	Breaker score.Breaker `yaml:"breaker" doc:"When rules ban too many at once to be right."`
	Hold    time.Duration `yaml:"hold" doc:"How long a source is held."`
}

func banReplay(a *command.Admin) *cobra.Command {
	var ch ruleChange
	var file, recording string
	var all bool
	c := &cobra.Command{
		Use: "replay", Short: "Tell who other thresholds would have banned, by the recorded offences", Args: cobra.NoArgs,
		Long: "Runs recorded offences through the rules in force and through changed ones, and lists whom each would have banned. What is to\n" +
			"change comes from flags for one rule, or from a file with the keys rules, breaker and hold of the configuration's guard section.\n" +
			"Nothing is banned by it.",
		RunE: func(c *cobra.Command, _ []string) error {
			after, err := afterOf(c, a, file, ch)
			if err != nil {
				return err
			}
			head, err := json.Marshal(after)
			if err != nil {
				return fmt.Errorf("encoding the request: %w", err)
			}
			var body io.Reader = bytes.NewReader(append(head, '\n'))
			path := "/bans/replay?own=true"
			if recording != "" {
				in, err := openInput(c, recording)
				if err != nil {
					return command.Bad(err)
				}
				defer in.Close()
				body, path = io.MultiReader(body, in), "/bans/replay"
			}
			var got guard.Replayed
			if err := a.Upload(c.Context(), "POST", path, body, &got); err != nil {
				return err
			}
			if a.JSON {
				return a.Print(c, got, nil)
			}
			return writeReplay(c.OutOrStdout(), got, all)
		},
	}
	c.Flags().StringVar(&ch.name, "rule", "", "`NAME` of the rule that changes")
	c.Flags().IntVar(&ch.threshold, "threshold", 0, "its new `THRESHOLD`")
	c.Flags().DurationVar(&ch.window, "window", 0, "its new `WINDOW`")
	c.Flags().DurationVar(&ch.ban, "ban", 0, "its new `LENGTH` of a ban")
	c.Flags().Float64Var(&ch.growth, "growth", 0, "its new `FACTOR` for repeaters")
	c.Flags().DurationVar(&ch.ceiling, "ceiling", 0, "its new longest `LENGTH`")
	c.Flags().IntVar(&ch.office, "office", 0, "its new `FACTOR` where good registrations live")
	c.Flags().StringVar(&file, "rules", "", "`FILE` with rules, breaker and hold, instead")
	c.Flags().StringVar(&recording, "record", "", "`FILE` of recorded offences; without it, the border's own record")
	c.Flags().BoolVar(&all, "all", false, "list those, too, whom both would have banned alike")
	return c
}

// afterOf is what is to decide.
func afterOf(c *cobra.Command, a *command.Admin, file string, ch ruleChange) (score.Config, error) {
	var cfg score.Config
	if err := a.Do(c.Context(), "GET", "/bans/scoring", nil, &cfg); err != nil {
		return cfg, err
	}
	if file != "" {
		s := scoringFile{Rules: cfg.Rules, Breaker: cfg.Breaker, Hold: cfg.Hold}
		if err := conffile.Load(file, &s); err != nil {
			return cfg, command.Bad(err)
		}
		cfg.Rules, cfg.Breaker, cfg.Hold = s.Rules, s.Breaker, s.Hold
	}
	return cfg, ch.apply(c, &cfg)
}

// writeReplay tells what a replay found, for a person.
func writeReplay(w io.Writer, r guard.Replayed, all bool) error {
	if r.Records == 0 {
		_, err := fmt.Fprintf(w, "no offences are recorded; %d lines are no records\n", r.Bad)
		return err
	}
	_, err := fmt.Fprintf(w, "%d offences from %s to %s\nbefore: %d sources banned, %d bans, %d holds\nafter:  %d sources banned, %d bans, %d holds\n",
		r.Records, r.From.Format(time.DateTime), r.To.Format(time.DateTime),
		r.Before.Sources, r.Before.Bans, r.Before.Holds, r.After.Sources, r.After.Bans, r.After.Holds)
	if err != nil {
		return err
	}
	t := &control.Table{Columns: []string{"SOURCE", "BEFORE", "AFTER", "KNOWN"}, Empty: "nobody's lot changes"}
	for _, ch := range r.Sources {
		if !all && alike(ch.Before, ch.After) {
			continue
		}
		known := 0
		for _, s := range []*score.Sentence{ch.Before, ch.After} {
			if s != nil {
				known = max(known, s.Known)
			}
		}
		t.Add(ch.Source, sentence(ch.Before), sentence(ch.After), known)
	}
	if err := t.Write(w); err != nil {
		return err
	}
	if r.Omitted+r.Bad > 0 {
		_, err = fmt.Fprintf(w, "%d more bans are not listed; %d lines are no records\n", r.Omitted, r.Bad)
	}
	return err
}

// alike reports whether two sentences are the same to whoever gets them.
func alike(a, b *score.Sentence) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.At.Equal(b.At) && a.Rule == b.Rule && a.Length == b.Length && a.Bans == b.Bans && a.Longest == b.Longest
}

func sentence(s *score.Sentence) string {
	if s == nil {
		return "-"
	}
	return fmt.Sprintf("%s %s %s ×%d", s.At.Format(time.DateTime), s.Rule, s.Length, s.Bans)
}
