package dialplan

import (
	"fmt"
	"maps"
	"slices"

	"brickhouse/shared/conffile"
)

// Room is a number where callers meet.
type Room struct {
	Number     string   `yaml:"number" doc:"Number of the room, that phones dial; it comes before the rules. Rules lead to the room with do: room. Its PINs are in the secret store (pbx room pin)."`
	Parties    int      `yaml:"parties" doc:"How many may be in the room."`
	Moderators []string `yaml:"moderators" doc:"Extensions whose phones are moderators without a PIN."`
	Wait       bool     `yaml:"wait" doc:"Until a moderator comes, the others hear music. When the last moderator has left, they wait again."`
	Ends       bool     `yaml:"ends" doc:"The conference is over when its last moderator leaves."`
	Chime      bool     `yaml:"chime" doc:"All hear a tone when somebody comes, and another when somebody leaves."`
}

// SetDefaults sets what a room is unless the file says otherwise.
func (r *Room) SetDefaults() { r.Parties, r.Chime = 20, true }

// maxParties bounds a room.
const maxParties = 200

// Validate says what is wrong with a room.
func (r *Room) Validate() []conffile.Fault {
	var fs []conffile.Fault
	bad := func(wrong bool, key, problem, remedy string) {
		if wrong {
			fs = append(fs, conffile.Bad(key, problem, remedy))
		}
	}
	bad(!isNumber(r.Number), "number", "is no number", "give the digits that phones dial")
	bad(r.Parties < 2 || r.Parties > maxParties, "parties", "is out of range", "give 2 to 200")
	bad(r.Wait && r.Ends, "ends", "does not go with wait", "choose what becomes of those who are left")
	return fs
}

// compileRooms takes over the rooms.
func (p *Plan) compileRooms(rooms map[string]Room) error {
	p.rooms = rooms
	for _, name := range p.Rooms() {
		r := rooms[name]
		if fs := r.Validate(); len(fs) > 0 {
			return fmt.Errorf("rooms.%s.%s: %s", name, fs[0].Key, fs[0].Problem)
		}
		if err := p.addPlace(ToRoom, name, r.Number); err != nil {
			return err
		}
	}
	return nil
}

// Room returns the room of that name.
func (p *Plan) Room(name string) (Room, bool) {
	r, ok := p.rooms[name]
	return r, ok
}

// Rooms returns the names of all rooms, sorted.
func (p *Plan) Rooms() []string { return slices.Sorted(maps.Keys(p.rooms)) }
