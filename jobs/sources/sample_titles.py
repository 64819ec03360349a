"""Made-up film titles, genres and tags: word pools a genre, and patterns to put them together."""

from __future__ import annotations

import numpy as np

GENRES = (
    "Drama", "Comedy", "Thriller", "Romance", "Action", "Crime", "Adventure", "Horror", "Sci-Fi", "Fantasy", "Mystery",
    "Children", "Animation", "Documentary", "War", "Musical", "Western", "Film-Noir",
)

_NOUNS: dict[str, str] = {
    "Drama": "Orchard Harbour Inheritance Winter Confession Lighthouse Daughter Silence Vineyard Ferry Letter Promise Garden "
             "Homecoming River Widow Piano Border Summer Verdict Carpenter Bridge Season Mother Window Schoolteacher",
    "Comedy": "Wedding Landlord Cousin Parade Honeymoon Roommate Casserole Bachelor Neighbour Vacation Chauffeur Diet Karaoke "
              "Divorce Mayor Barbecue Impostor Babysitter Lottery Matchmaker Dentist Uncle Motel Golfer",
    "Thriller": "Informant Witness Cipher Alibi Hostage Protocol Pursuit Deadline Suspect Surveillance Checkpoint Double Exit "
                "Conspiracy Courier Blackout Threshold Trap Signal Tunnel Operative Ransom",
    "Romance": "Kiss Valentine Waltz Rendezvous Moonlight Proposal Balcony Sweetheart Postcard Serenade Bouquet Affair Bride "
               "Stranger Embrace Rain Cafe Anniversary Lover Tango Heart",
    "Action": "Vengeance Strike Convoy Commando Fury Detonator Squad Fist Hunter Bullet Siege Overdrive Rampage Outlaw Mercenary "
              "Showdown Inferno Escape Avenger Thunder Collision",
    "Crime": "Heist Syndicate Detective Safecracker Getaway Racket Racketeer Verdict Fence Precinct Jury Kingpin Accomplice Payroll "
             "Forger Jackpot Gambler Diamond Warden Alley Contract",
    "Adventure": "Expedition Cartographer Compass Voyage Caravan Treasure Navigator Summit Jungle Island Explorer Horizon Pearl "
                 "Desert Lagoon Pirate Odyssey Glacier Map Canyon Passage",
    "Horror": "Crypt Scarecrow Asylum Possession Cellar Séance Shadow Grave Whisper Ritual Fog Doll Butcher Mirror Haunting Curse "
              "Swamp Attic Coven Stitch Nightmare",
    "Sci-Fi": "Android Orbit Colony Nebula Signal Clone Eclipse Paradox Satellite Starship Frequency Quasar Replica Exodus Module "
              "Singularity Visitor Reactor Comet Machine Horizon",
    "Fantasy": "Dragon Enchantress Kingdom Sorcerer Unicorn Prophecy Amulet Realm Griffin Spell Goblin Crown Sword Oracle Wanderer "
               "Labyrinth Throne Phoenix Forest Rune",
    "Mystery": "Secret Riddle Portrait Footprint Library Key Vanishing Clue Locket Stranger Manor Inspector Clock Corridor Diary "
               "Masquerade Testament Lodger Raven Puzzle",
    "Children": "Puppy Balloon Treehouse Kitten Birthday Snowman Circus Rocket Puddle Teddy Hamster Pancake Scooter Pony Marmalade "
                "Penguin Playground Firefly Mitten Duckling",
    "Animation": "Fox Robot Acorn Beetle Toymaker Cloud Mouse Owl Pumpkin Tortoise Lantern Whale Sparrow Otter Bear Squirrel Bubble "
                 "Moon Frog Dandelion",
    "Documentary": "Archive Glacier Orchestra Reef Election Harvest Kitchen Marathon Factory Migration Climb Radio Brass "
                   "Newsroom Ocean Honey Dam Velodrome Steel",
    "War": "Battalion Trench Armistice Regiment Bugle Frontline Sergeant Ridge Convoy Minefield Beachhead Medic Garrison Barricade "
           "Bomber Ceasefire Platoon Flag Bunker Letter",
    "Musical": "Melody Chorus Ballroom Rhythm Cabaret Trumpet Broadway Encore Footlights Duet Serenade Jukebox Carousel Spotlight "
               "Tambourine Lullaby Marquee Showboat Swing",
    "Western": "Gunslinger Saddle Canyon Sheriff Mesa Stagecoach Rustler Prairie Frontier Marshal Ranch Outpost Coyote Spur "
               "Homestead Noose Stampede Bounty Creek Rider",
    "Film-Noir": "Alley Dame Cigarette Nightclub Shadow Pistol Boulevard Stranger Detour Blonde Fedora Harbor Staircase Neon Widow "
                 "Keyhole Midnight Rain Killer Alibi",
}
_ADJECTIVES: dict[str, str] = {
    "": "Last Silent Hidden Broken Long Golden Empty Distant Forgotten Second Secret Quiet Lost Other Northern Old Blue Perfect",
    "Drama": "Unspoken Bitter Tender Ordinary Fragile Faithful",
    "Comedy": "Awkward Accidental Ridiculous Reluctant Clumsy Loud",
    "Thriller": "Deadly Cold Unknown False Final Fatal",
    "Romance": "Sweet Endless Stolen Parisian First Moonlit",
    "Action": "Lethal Savage Burning Rogue Relentless Iron",
    "Crime": "Crooked Dirty Inside Easy Wanted Guilty",
    "Adventure": "Wild Sunken Uncharted Emerald Great Farthest",
    "Horror": "Bleeding Hungry Unholy Crawling Dead Screaming",
    "Sci-Fi": "Electric Quantum Artificial Lunar Orbital Infinite",
    "Fantasy": "Enchanted Winged Crystal Silver Cursed Ancient",
    "Mystery": "Missing Crimson Locked Curious Veiled Vanished",
    "Children": "Little Magic Happy Giant Brave Tiny",
    "Animation": "Flying Clever Curious Sleepy Merry Paper",
    "Documentary": "Living True Unseen American Vanishing Public",
    "War": "Fallen Crimson Bravest Unknown Eastern Frozen",
    "Musical": "Dancing Singing Dazzling Swinging Merry Velvet",
    "Western": "Dusty Lonesome Hanging Wild Crooked Painted",
    "Film-Noir": "Dark Velvet Crooked Naked Midnight Smoky",
}
_PLACES = (
    "Valparaiso Lisbon Tangier Kyoto Marseille Havana Odessa Prague Nairobi Buenos_Aires Calcutta Reykjavik Naples Shanghai Montreal "
    "Galway Trieste Vienna Memphis Savannah Bombay Istanbul Casablanca_Bay Seville Antwerp Santiago Brooklyn Leningrad Palermo Oslo "
    "Samarkand Bergen Cordoba Hanoi Zanzibar Manila Bruges Tucson Duluth Cheyenne Cardiff Rotterdam Alexandria Lima Quebec Ghent Bath"
).replace("_Bay", "").split()
_PEOPLE = (
    "Eleanor Marcus Ines Walter Beatrix Tomas Ruth Oscar Clara Hugo Mabel Felix Nadia Arthur Rosa Leo Harriet Viktor Amara Silas "
    "Greta Jonah Pearl Emile Sofia Abel Yuki Dorothy Milo Anselm Lucinda Casper Esther Bruno Philippa Otto Marguerite Ravi Zelda"
).split()
_SURNAMES = (
    "Hargrove Valdez Lindqvist Okafor Bellamy Moreau Castellano Whitlock Petrov Tanaka Delacroix Ferreira Abbott Kowalski Draper "
    "Sinclair Novak Rhodes Carmichael Ibarra Langley Voss Merriweather Quill Sorensen Bright Ashdown Pemberton Rourke Vance"
).split()
_DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday January February March April June August October November December".split()
_NUMBERS = "Two Three Four Five Six Seven Nine Ten Twelve Thirteen Forty A_Hundred A_Thousand".split()

TAGS: dict[str, str] = {
    "Drama": "family,bittersweet,based on a book,thought-provoking,coming of age,slow paced,great acting,grief",
    "Comedy": "funny,witty,slapstick,satire,feel-good,quirky,friendship,deadpan",
    "Thriller": "suspense,twist ending,tense,conspiracy,cat and mouse,fast paced,psychological",
    "Romance": "love story,chemistry,bittersweet romance,wedding,tearjerker,date night,second chances",
    "Action": "explosions,martial arts,car chase,revenge,one-man army,stunts,blockbuster",
    "Crime": "heist,mafia,police,undercover,prison,based on a true story,gangsters",
    "Adventure": "treasure hunt,survival,journey,exotic locations,sea,epic,quest",
    "Horror": "scary,ghosts,gore,haunted house,slasher,jump scares,supernatural",
    "Sci-Fi": "space,time travel,dystopia,artificial intelligence,aliens,mind-bending,cyberpunk",
    "Fantasy": "magic,dragons,mythology,alternate world,fairy tale,sword fights,wizards",
    "Mystery": "whodunit,detective,missing person,plot twist,atmospheric,small town secrets",
    "Children": "family friendly,talking animals,school,toys,holiday,heartwarming",
    "Animation": "hand-drawn,stop motion,beautiful animation,cartoon,for all ages,anime",
    "Documentary": "interviews,nature,politics,music history,true events,archive footage,eye-opening",
    "War": "world war ii,soldiers,anti-war,submarine,resistance,battlefield,vietnam",
    "Musical": "songs,dance,stage adaptation,great soundtrack,jazz,show business",
    "Western": "gunfight,cowboys,frontier,outlaws,revenge ride,desert landscape,spaghetti western",
    "Film-Noir": "femme fatale,hard-boiled,voice-over,black and white,private eye,moral ambiguity",
}
_MOODS = "underrated,cult film,overlong,visually stunning,original,predictable,rewatchable,dialogue,low budget,festival favourite".split(",")


class Titles:
    """Titles of one catalogue, no two alike once the year is put to them."""

    def __init__(self, generator: np.random.Generator) -> None:
        self._generator = generator
        self._draws = iter(())
        self._taken: set[str] = set()

    def _draw(self, words: list[str] | tuple[str, ...]) -> str:
        return words[int(self._below(len(words)))].replace("_", " ")

    def _below(self, n: int) -> int:
        """A random whole number below n; drawn in blocks, as a draw alone costs ten times as much."""
        try:
            return int(next(self._draws) * n)
        except StopIteration:
            self._draws = iter(self._generator.random(4096).tolist())
            return self._below(n)

    def title(self, genre: str, other: str, year: int) -> str:
        """A title for a film of these genres, with its year, not given out before."""
        for attempt in range(40):
            text = self._phrase(genre, other, is_long=attempt > 4)
            full = f"{text} ({year})"
            if full not in self._taken:
                break
        else:
            n = next(n for n in range(2, 10_000) if f"{text} {n} ({year})" not in self._taken)
            full = f"{text} {n} ({year})"
        self._taken.add(full)
        return full

    def _phrase(self, genre: str, other: str, *, is_long: bool) -> str:
        nouns, others = _NOUNS[genre].split(), _NOUNS[other].split()
        adjectives = _ADJECTIVES[""].split() + 2 * _ADJECTIVES[other if is_long else genre].split()
        noun, second, adjective = self._draw(nouns), self._draw(others), self._draw(adjectives)
        place, person, surname, day = (self._draw(pool) for pool in (_PLACES, _PEOPLE, _SURNAMES, _DAYS))
        number = self._draw(_NUMBERS)
        patterns = (
            f"The {adjective} {noun}", f"The {adjective} {noun}", f"{adjective} {noun}", f"The {noun} of {place}", f"{noun} in {place}",
            f"The {noun} and the {second}", f"A {noun} for {person}", f"{person} {surname}", f"The {surname} {noun}",
            f"{place} {noun}", f"{noun} by {day}", f"{number} Days in {place}", f"The {noun}'s {second}", f"{person} and the {noun}",
            f"{day} in {place}", f"Beyond the {noun}", f"The {noun} at {place}", f"{adjective} {noun}, {adjective} {second}",
            f"Return to {place}", f"The Trial of {person} {surname}", f"No {noun} for {person}", f"Under the {adjective} {noun}",
        )
        text = patterns[self._below(len(patterns))]
        if is_long:
            text = f"{text}: The {self._draw(_ADJECTIVES[''].split())} {second}"
        return text

    def tags(self, genres: list[str], year: int) -> str:
        """A few tags that go with the genres, joined by |; none for some films."""
        n = self._below(6)
        pools = [TAGS[genre].split(",") for genre in genres]
        chosen = [self._draw(pools[min(self._below(len(pools) + 1), len(pools) - 1)]) for _ in range(n)]
        if n and self._below(3) == 0:
            chosen.append(self._draw(_MOODS))
        if n and self._below(4) == 0:
            chosen.append(f"{year // 10 % 10}0s" if year >= 1950 and year < 2000 else "classic" if year < 1950 else "modern")
        return "|".join(dict.fromkeys(chosen))
