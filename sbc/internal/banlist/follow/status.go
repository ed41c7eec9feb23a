package follow

import (
	"time"

	"brickhouse/sbc/internal/banlist"
)

// Status is how a list stands.
type Status struct {
	Name      string         `json:"name"`
	Source    string         `json:"source"` // path, or scheme and host of the URL
	Allow     bool           `json:"allow,omitempty"`
	Monitor   bool           `json:"monitor,omitempty"`
	Entries   int            `json:"entries"`              // networks in force
	Report    banlist.Report `json:"report,omitzero"`      // of what is in force
	FromDisk  bool           `json:"from_disk,omitempty"`  // it is the kept copy of a URL that did not answer yet
	Fetched   time.Time      `json:"fetched,omitzero"`     // when the source gave what is in force
	Changed   time.Time      `json:"changed,omitzero"`     // when it came into force
	Checked   time.Time      `json:"checked,omitzero"`     // when the source was last looked at
	Next      time.Time      `json:"next_try,omitzero"`    // when it will be
	Failures  int            `json:"failures,omitempty"`   // looks in a row that failed
	FailedAll uint64         `json:"failures_total"`       // looks that failed, since start
	Error     string         `json:"error,omitempty"`      // of the last look
	Disk      string         `json:"disk_error,omitempty"` // why the last good content could not be kept on disk
}
